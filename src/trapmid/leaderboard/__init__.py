"""Results as data: cards of audits that anybody can check and compare, and a page that shows them."""

from trapmid.leaderboard.card import ResultCard, read_card, read_cards, write_cards
from trapmid.leaderboard.checking import check_card
from trapmid.leaderboard.making import cards_of
from trapmid.leaderboard.page import write_leaderboard

__all__ = ["ResultCard", "cards_of", "check_card", "read_card", "read_cards", "write_cards", "write_leaderboard"]
