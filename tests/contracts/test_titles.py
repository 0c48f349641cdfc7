"""What tables call the members."""

import pytest

from trapmid.attacks import ATTACKS, GMI, KEDMI, LOMMA, Distilled
from trapmid.config import Member
from trapmid.defenses import DEFENSES, Stacked
from trapmid.metrics.judges import JUDGES
from trapmid.priors import PRIORS

MEMBERS = (*ATTACKS, *DEFENSES, *JUDGES, *PRIORS)


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
def test_every_member_has_a_title_of_its_own(member: type[Member]) -> None:
    assert [other for other in MEMBERS if other.title == member.title] == [member]
    assert member.title.strip()


def test_a_member_that_holds_others_is_called_after_them() -> None:
    assert Stacked().heading == "Trap-MID + NegLS"
    assert Distilled(base=KEDMI()).heading == "KED-MI (distilled copy)"
    assert LOMMA(label="lomma-gmi", base=GMI()).heading == LOMMA(base=GMI()).heading == "LOMMA (GMI)"


def test_a_label_is_what_a_member_is_called() -> None:
    assert GMI().heading == "GMI"
    assert GMI(label="gmi-long").heading == LOMMA(label="gmi-long").heading == "gmi-long"
