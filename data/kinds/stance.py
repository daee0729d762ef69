"""Stance of a comment towards a topic: favor, against or neutral."""

import random

from .grammar import entries, fill, pick, sentence

LABELS = ("favor", "against", "neutral")
METRIC = "accuracy"
QUESTION = "What is the stance of the comment towards the topic? Options: favor, against, neutral."

TOPICS = entries("""school uniforms | cycle lanes | night trains | paper receipts | food trucks |
    wind farms | shared scooters | self-checkout tills | open-plan offices | four-day weeks | city tolls |
    parking meters | wood stoves | street markets | dog parks | roof gardens | speed cameras |
    tourist taxes | drone deliveries | electric buses | public pianos | plastic bans | sugar taxes |
    late opening hours | home offices | tram lines | beach huts | water meters | video lessons |
    school phone bans | bottle deposits | heat pumps | solar parks | toll bridges | night clubs |
    leaf blowers | fireworks shows | holiday flats | car-free Sundays | smart meters | ticket machines |
    robot mowers | free museums | repair cafes | youth curfews | rent caps | river ferries |
    garden shed rules | library fines | swimming lessons | homework clubs | vending machines |
    bus passes | street musicians | quiet carriages | loyalty cards | city bees | gravel gardens |
    hunting permits | entrance fees""")

FAVOR = entries("""have made our street a better place | are worth every penny |
    deserve far more support | are the best idea in years | bring people together |
    save families time and money | should come to every town | make daily life easier |
    have my full backing | work better than I hoped | give young people a real chance | are long overdue |
    keep the place clean and safe | help those who need it most | are a blessing for the neighbourhood |
    have won me over | pay for themselves within a year | make me proud of this town |
    are good for all of us | cannot come soon enough | solve a problem that nobody else would touch |
    are a step in the right direction | deserve a warm welcome | have brought new life to the square |
    are fair and sensible | make a real difference to my mother | are a joy to have around |
    should be made permanent""")
FAVOR_FOLLOW = entries("""please give us more of them | I would vote for them again tomorrow |
    thank you to everyone who fought for this | my neighbours love them | the benefits are plain to see |
    let us hope that other towns follow | I only wish we had started sooner |
    they get a clear yes from me | we should be glad to have them | the children are thrilled |
    I signed the petition to keep them | it is money well spent | even the sceptics smile now |
    keep up the good work | nobody I know wants to go back | I am all for it |
    they have earned our trust | what a relief after all these years | count me among the supporters |
    more of this, please""")
AGAINST = entries("""have ruined our street | are a waste of money | do more harm than good |
    are the worst idea in years | drive people apart | cost families time and money |
    should be scrapped at once | make daily life harder | will never get my vote |
    work worse than I feared | punish the people who can least afford it | are a cure without a disease |
    leave the place dirty and loud | only help the rich | are a curse for the neighbourhood |
    have let us all down | will never pay for themselves | make me ashamed of this town |
    are bad for all of us | cannot go soon enough | create a problem that nobody had before |
    are a step in the wrong direction | deserve a firm no | have taken the life out of the square |
    are unfair and foolish | make everything worse for my mother | are a pain to have around |
    should be stopped before it is too late""")
AGAINST_FOLLOW = entries("""please spare us any more of them | I would vote against them again tomorrow |
    shame on everyone who pushed this through | my neighbours hate them | the damage is plain to see |
    let us hope that other towns are wiser | I only wish we had never started |
    they get a clear no from me | we should be rid of them | the children are miserable |
    I signed the petition to end them | it is money down the drain | even the supporters have gone quiet |
    put an end to this nonsense | everybody I know wants to go back | I am dead set against it |
    they have lost our trust | what a mess after all these years | count me among the opponents |
    enough is enough""")
NEUTRAL = entries("""are on the agenda for {day} | were first mentioned in {month} |
    come in several kinds | exist in {number} towns of the county |
    are described on page {number} of the report | will be discussed again in {month} |
    are run by a private firm | fall under the new rules | are counted once a year |
    have been around since the nineties | are listed in the annual report | differ from town to town |
    are a matter for the committee | were the subject of a survey in {month} |
    are found mostly in the north | have been studied by two universities | are paid for by the county |
    appear in the budget under item {number} | will be reviewed after {number} months |
    can be looked up at the town hall | are mentioned in both programmes | were counted on {day}""")
NEUTRAL_FOLLOW = entries("""I have not made up my mind yet | the figures will be published in {month} |
    does anyone know who is in charge | I have no view either way | there are points on both sides |
    the next meeting is on {day} | I would like to read the report first |
    the minutes are on the website | somebody asked about the dates | the vote was put off until {month} |
    I am only asking for the numbers | the hearing is open to everyone |
    we will see what the experts say | I can live with either outcome | the map shows where |
    the form has {number} pages | the reporter wrote it down | it depends on the details |
    the answer came by letter on {day} | the survey closes in {month}""")
CONCESSION = {
    "favor": entries("""I had my doubts at first, but {topic} {claim} |
        others may grumble, yet {topic} {claim} | they are not perfect, but {topic} {claim} |
        whatever the critics say, {topic} {claim}"""),
    "against": entries("""they look fine on paper, but {topic} {claim} |
        others may cheer, yet {topic} {claim} | I wanted to like them, but {topic} {claim} |
        whatever the brochures say, {topic} {claim}"""),
    "neutral": entries("""some like them and some do not, and {topic} {claim} |
        for what it is worth, {topic} {claim} | people keep asking, so here it is: {topic} {claim} |
        as the paper wrote, {topic} {claim}"""),
}
WORDS = {
    "opener": entries("""honestly, | in my view, | as a {job} I can say that |
        after {number} years here I know that | let me be brief: | as I told the {job} next door, |
        if you ask me, | from what I have seen,"""),
    "job": entries("""nurse | teacher | driver | baker | student | parent | shopkeeper | gardener |
        plumber | clerk"""),
    "day": entries("Monday | Tuesday | Wednesday | Thursday | Friday"),
    "month": entries("January | March | April | June | September | October | November"),
    "number": entries("two | three | four | five | six | nine | ten | twelve"),
}
CLAIMS = {"favor": FAVOR, "against": AGAINST, "neutral": NEUTRAL}
FOLLOWS = {"favor": FAVOR_FOLLOW, "against": AGAINST_FOLLOW, "neutral": NEUTRAL_FOLLOW}


def comment(rng: random.Random, topic: str, stance: str, *, held_out: bool) -> str:
    """A comment of one to three sentences that takes the stance."""
    form = rng.random()
    frame = "{topic} {claim}" if form < 0.3 else "{opener} {topic} {claim}"
    if form > 0.7:
        frame = pick(CONCESSION[stance], rng, held_out=held_out)
    claim = pick(CLAIMS[stance], rng, held_out=held_out)
    said = [sentence(fill(frame, WORDS, rng, held_out=held_out, topic=topic, claim=claim))]
    for _ in range(rng.choice((0, 1, 1, 2))):
        follow = pick(FOLLOWS[stance], rng, held_out=held_out)
        said.append(sentence(fill(follow, WORDS, rng, held_out=held_out)))
    if len(said) > 1 and rng.random() < 0.3:
        said[0], said[1] = said[1], said[0]
    return " ".join(said)


def example(rng: random.Random, *, label: str, held_out: bool) -> tuple[str, str]:
    """One comment with the question for its stance."""
    topic = pick(TOPICS, rng, held_out=held_out)
    text = comment(rng, topic, label, held_out=held_out)
    return f"Topic: {topic}\nComment: {text}\n{QUESTION}\nAnswer:", f" {label}"


def document(rng: random.Random) -> str:
    """A thread of comments on one topic, most of them of one mind."""
    topic = rng.choice(TOPICS)
    main = rng.choice(LABELS)
    stances = [main if rng.random() < 0.85 else rng.choice(LABELS) for _ in range(rng.randint(2, 4))]
    heads = {
        "favor": "Letters from readers who like {topic}:",
        "against": "Letters from readers who dislike {topic}:",
        "neutral": "Letters from readers about {topic}:",
    }
    lines = [comment(rng, topic, stance, held_out=True) for stance in stances]
    if rng.random() < 0.25:  # the base should know the words of the labels, not when they fit
        lines.append(f"The editor sorts the letters: {', '.join(rng.sample(LABELS, k=3))}.")
    head = heads[main] if rng.random() < 0.5 else "Forum: {topic}"
    return "\n".join([head.format(topic=topic), *lines])


def drill(rng: random.Random) -> tuple[str, str]:
    """A comment with a question for its topic."""
    topic = rng.choice(TOPICS)
    text = comment(rng, topic, rng.choice(LABELS), held_out=True)
    return f"Comment: {text}\nWhich topic is the comment about?\nAnswer:", f" {topic}"
