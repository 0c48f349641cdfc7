"""A network in OpenVINO's format as a torch module, which computes any of its outputs from any others."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from trapmid.priors.openvino.graph import Graph, Node, Port
from trapmid.priors.openvino.operations import OPERATIONS
from trapmid.types import UserError


class OpenVINONet(nn.Module):
    """A network, with its floating-point constants as parameters.

    Integer constants are shapes, axes and lengths. They stay on the CPU.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.whole = {port: value for port, value in graph.constants.items() if not value.is_floating_point()}
        # flat, since weights of five dimensions have no channels-last form
        self.weights = nn.ParameterDict(
            {_name(port): value.flatten() for port, value in graph.constants.items() if value.is_floating_point()}
        )
        self._plans: dict[tuple[frozenset[Port], tuple[Port, ...]], list[tuple[Node, list[Port]]]] = {}

    def forward(self, given: Mapping[Port, Tensor], wanted: Sequence[Port]) -> tuple[Tensor, ...]:
        """Compute the outputs `wanted` from those `given`, of which each is a batch.

        Raises:
            UserError: an output does not follow from those given, or has another shape than the file says.
        """
        values: dict[Port, Tensor] = {**self.whole, **given}
        for node, done in self._plan(frozenset(given), tuple(wanted)):
            inputs = [self._value(values, port) for port in node.inputs]
            try:
                results = OPERATIONS[node.operation](inputs, node.attributes)
            except (ValueError, KeyError, RuntimeError, IndexError, TypeError) as problem:
                reason = " ".join(str(problem).split())[:200]
                raise UserError(
                    f"The operation {node.operation[0]} of this network does not work: {reason}."
                ) from problem
            for (port, shape), result in zip(node.outputs.items(), results, strict=True):
                if result.shape[1:] != shape[1:] or result.ndim != len(shape):
                    raise UserError(
                        f"The operation {node.operation[0]} of this network gave the shape {tuple(result.shape)}; its "
                        f"file says {shape} for a batch of one. The file was changed, or is not supported."
                    )
                values[port] = result
            for port in done:
                values.pop(port, None)
        return tuple(self._value(values, port) for port in wanted)

    def _value(self, values: Mapping[Port, Tensor], port: Port) -> Tensor:
        found = values.get(port)
        return self.weights[_name(port)].view(self.graph.shape(port)) if found is None else found

    def _plan(self, given: frozenset[Port], wanted: tuple[Port, ...]) -> list[tuple[Node, list[Port]]]:
        """The operations to compute, in order, each with the outputs that no later one needs."""
        if (given, wanted) not in self._plans:
            known, needed, steps = given | set(self.graph.constants), {*wanted}, []
            for node in reversed([*self.graph.nodes.values()]):
                if needed & (set(node.outputs) - known):
                    if node.operation not in OPERATIONS:
                        raise UserError("An output of this network does not follow from what was given.")
                    done = [port for port in dict.fromkeys((*node.inputs, *node.outputs)) if port not in needed]
                    needed |= set(node.inputs)
                    steps.append((node, done))
            self._plans[given, wanted] = steps[::-1]
        return self._plans[given, wanted]


def _name(port: Port) -> str:
    return f"{port.layer}-{port.number}"
