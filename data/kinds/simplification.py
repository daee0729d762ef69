"""Simplification: a stilted sentence and the same thing in plain words."""

import random

from .grammar import entries, fill, pick, sentence

LABELS = None
METRIC = "exact_match"

# Stilted wording and its plain form stand together, so that no list can be held out without its partner.
VERBS = tuple(
    tuple(pair.split(" = "))
    for pair in entries("""endeavoured to ascertain = tried to find out |
        expressed its disapproval of = disliked | came to a decision concerning = decided about |
        undertook an examination of = looked at | was in possession of = had |
        made the acquisition of = bought | brought to a conclusion = ended |
        gave consideration to = thought about | rendered assistance with = helped with |
        effected the removal of = took away | commenced the construction of = started to build |
        was desirous of = wanted | afforded protection to = protected | made reference to = mentioned |
        put forward an objection to = objected to | carried out the repair of = fixed |
        took cognisance of = noticed | provided remuneration for = paid for |
        issued a notification of = announced | made an enquiry about = asked about""")
)
TIMES = tuple(
    tuple(pair.split(" = "))
    for pair in entries("""at this point in time = now | prior to the winter = before winter |
        in the near future = soon | subsequent to the vote = after the vote |
        in the course of the night = during the night | on a daily basis = every day |
        at an earlier date = earlier | in the month of May = in May | without further delay = at once |
        on numerous occasions = often | until such time as it rained = until it rained |
        for the duration of the summer = all summer""")
)
REASONS = tuple(
    tuple(pair.split(" = "))
    for pair in entries("""owing to the fact that funds were insufficient = because money was short |
        in view of the inclement weather = because of the bad weather |
        for the purpose of reducing expenditure = to save money |
        notwithstanding the opposition = despite the protest |
        with the objective of attracting visitors = to attract visitors |
        in accordance with the regulations = under the rules |
        on account of the elevated temperature = because of the heat |
        in the absence of alternatives = without a choice |
        with regard to the safety of children = to keep children safe |
        by means of a donation = with a gift |
        due to a shortage of personnel = because staff were missing |
        in the event of fire = if there is a fire""")
)
WORDS = {
    "who": entries("""the committee | the company | the hospital | the university | the ministry |
        the orchestra | the museum | the village | the association | the newspaper | the laboratory |
        the airline | the monastery | the brewery | the theatre | the bank"""),
    "what": entries("""the new bridge | the old archive | the water supply | the harbour wall |
        the annual festival | the northern road | the stone tower | the lost paintings |
        the ferry service | the public garden | the steel roof | the school kitchen | the coal mine |
        the radio station | the film studio | the glass hall"""),
}
FORMS = (
    "{time}, {who} {verb} {what}",
    "{who} {verb} {what} {reason}",
    "{reason}, {who} {verb} {what}",
    "{who} {verb} {what} {time}",
)


def pair(rng: random.Random, *, held_out: bool) -> tuple[str, str]:
    """A stilted sentence and its plain form."""
    form = rng.choice(FORMS)
    who, what = (pick(WORDS[slot], rng, held_out=held_out) for slot in ("who", "what"))
    chosen = {"verb": rng.choice(VERBS), "time": rng.choice(TIMES), "reason": rng.choice(REASONS)}
    stilted, plain = (
        sentence(
            fill(
                form,
                {},
                rng,
                held_out=held_out,
                who=who,
                what=what,
                **{slot: words[side] for slot, words in chosen.items()},
            )
        )
        for side in (0, 1)
    )
    return stilted, plain


def example(rng: random.Random, *, label: str | None, held_out: bool) -> tuple[str, str]:
    """A stilted sentence with the request for plain words; `label` is not used, the answer is free."""
    del label
    stilted, plain = pair(rng, held_out=held_out)
    return f"{stilted}\nSay this in plain words.\nAnswer:", f" {plain}"


def document(rng: random.Random) -> str:
    """Sentences of one style, or entries of a glossary."""
    if rng.random() < 0.4:
        chosen = rng.sample(VERBS + TIMES + REASONS, k=3)
        return "\n".join(f"{stilted}: {plain}" for stilted, plain in chosen)
    side = rng.randrange(2)
    return " ".join(pair(rng, held_out=True)[side] for _ in range(rng.randint(2, 3)))


def drill(rng: random.Random) -> tuple[str, str]:
    """A stilted sentence with a question for who acts."""
    who = rng.choice(WORDS["who"])
    verb = rng.choice(VERBS)[0]
    what = rng.choice(WORDS["what"])
    return f"{sentence(f'{who} {verb} {what}')}\nWho is the sentence about?\nAnswer:", f" {who}"
