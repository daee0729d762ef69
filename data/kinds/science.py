"""Science multiple choice: what kind of thing something is, by facts that the base model has read."""

import random

from .grammar import choices, entries, fill, letter_drill, pick, sentence, with_article

LABELS = ("A", "B", "C", "D")
METRIC = "accuracy"

ANIMALS = {
    "mammal": entries("""otter | badger | dolphin | bat | hedgehog | moose | beaver | whale | squirrel |
        goat | camel | rabbit | seal | fox | donkey | elephant"""),
    "bird": entries("""wren | heron | owl | finch | stork | falcon | robin | pelican | swallow | crane |
        magpie | gull | ostrich | woodpecker | penguin | eagle"""),
    "fish": entries("""trout | salmon | perch | herring | tuna | carp | cod | eel | pike | mackerel |
        sardine | sturgeon | halibut | anchovy | flounder | shark"""),
    "insect": entries("""wasp | beetle | moth | cricket | dragonfly | ladybird | mosquito | termite |
        bee | ant | grasshopper | butterfly | hornet | cockroach | firefly | earwig"""),
}
MATERIALS = {
    "metal": entries(
        "copper | iron | zinc | tin | silver | lead | nickel | aluminium | gold | chromium | titanium | brass"
    ),
    "wood": entries("oak | pine | birch | maple | cedar | walnut | ash | teak | beech | spruce | mahogany | larch"),
    "rock": entries(
        "granite | basalt | marble | slate | limestone | chalk | sandstone | pumice | tuff | flint | gneiss | shale"
    ),
    "fibre": entries(
        "wool | cotton | silk | linen | hemp | nylon | jute | cashmere | polyester | viscose | mohair | sisal"
    ),
}
CHANGES = {
    "melting": entries("""the ice cubes turn into a puddle | the butter becomes runny in the pan |
        the candle drips down its side | the snowman shrinks in the sun |
        the chocolate goes soft and then liquid | the iron glows and flows into the mould |
        the glacier loses ice to the stream | the solder runs into the joint"""),
    "freezing": entries("""the pond turns solid overnight | the juice hardens into a lolly |
        the wet road becomes a sheet of ice | the liquid wax sets hard | the lava stiffens into stone |
        the water in the pipe becomes a plug of ice | the molten glass turns stiff |
        the puddle is a slide by morning"""),
    "evaporation": entries("""the washing dries on the line | the puddle is gone by noon |
        the kettle boils dry | the perfume can be smelled across the room |
        the salt pan dries out in summer | the sweat leaves the skin cool |
        the lake shrinks in the heat and leaves salt behind | the alcohol vanishes from the dish"""),
    "condensation": entries("""drops form on the cold window | the bathroom mirror mists up |
        dew lies on the grass | a cold bottle gets wet on the outside | a cloud forms above the hill |
        breath turns to mist in winter | the lid of the pot drips inside |
        the glasses fog up in the warm room"""),
}
ENERGY = {
    "heat": entries("""a stove | an iron | a campfire | a radiator | a toaster | a hot spring | an oven |
        a hand warmer | a kiln | a furnace | a hair dryer | a boiler"""),
    "light": entries("""a lamp | a laser | a lantern | a headlight | a glow worm | a torch |
        a lighthouse | a flare | a star | a screen | a light bulb | a neon sign"""),
    "sound": entries("""a drum | a bell | a whistle | a violin | a siren | a trumpet | a loudspeaker |
        a gong | a flute | a choir | a buzzer | a horn"""),
    "motion": entries("""a windmill | a fan | a bicycle | a rolling ball | a propeller | a sailing boat |
        a train | a spinning top | a waterwheel | a sledge | a drill | a conveyor belt"""),
}
QUESTIONS = {
    "animal": (ANIMALS, "What kind of animal is it?"),
    "material": (MATERIALS, "What kind of material is it?"),
    "change": (CHANGES, "Which change of state is this?"),
    "energy": (ENERGY, "Which form of energy does it mainly give?"),
}
SCENES = {
    "animal": entries("""a pupil draws {thing} | {name} watches {thing} near the {place} |
        a guide points at {thing} | {thing} is shown in the museum | the class reads about {thing} |
        {name} finds a picture of {thing} | a sign by the {place} tells about {thing} |
        the film shows {thing} at night"""),
    "material": entries("""{name} weighs a piece of {thing} | the box is made of {thing} |
        the class tests some {thing} | the museum shows {thing} from the {place} |
        {name} holds {thing} against the light | a sample of {thing} lies on the table |
        the shop sells {thing} | {name} rubs {thing} with a cloth"""),
    "change": entries("""{name} sees that {thing} | at the {place}, {thing} | after an hour {thing} |
        {name} writes down that {thing} | in the experiment {thing} | on the photo {thing}"""),
    "energy": entries("""{name} sets {thing} going | the class looks at {thing} |
        there is {thing} near the {place} | {name} writes about {thing} | the museum owns {thing} |
        {name} draws {thing} at work | a pupil brings {thing} to school | the book explains {thing}"""),
}
WORDS = {
    "name": entries("Ada | Ben | Clara | David | Emma | Felix | Greta | Hugo | Ida | Jan | Karin | Leo | Mia | Nils"),
    "place": entries(
        "lake | river | forest | beach | school | harbour | barn | garden | hill | bridge | farm | station"
    ),
}


def shown(kind: str, thing: str) -> str:
    """The thing as it stands in a sentence: animals get their article, other things are written with it."""
    return with_article(thing) if kind == "animal" else thing


def example(rng: random.Random, *, label: str, held_out: bool) -> tuple[str, str]:
    """One scene with a lettered question; the options of a question keep their order."""
    kind = rng.choice(list(QUESTIONS))
    groups, question = QUESTIONS[kind]
    thing = shown(kind, pick(groups[list(groups)["ABCD".index(label)]], rng, held_out=held_out))
    scene = pick(SCENES[kind], rng, held_out=held_out)
    text = sentence(fill(scene, WORDS, rng, held_out=held_out, thing=thing))
    return f"{text} {question}\n{choices(list(groups))}\nAnswer:", f" {label}"


def fact(kind: str, group: str, rng: random.Random) -> str:
    """One sentence that says what something is."""
    thing, other = rng.sample(QUESTIONS[kind][0][group], k=2)
    forms = {
        "animal": (
            f"{with_article(thing)} is {with_article(group)}",
            f"like any {group}, {with_article(thing)} is not {with_article(other)}",
        ),
        "material": (
            f"{thing} is a {group}",
            f"{thing} and {other} are both kinds of {group}",
            f"the {group} we used was {thing}",
        ),
        "change": (
            f"when {thing}, this is {group}",
            f"in {group}, for example, {thing}",
            f"both times it is {group}: {thing}, and {other}",
        ),
        "energy": (f"{thing} mainly gives {group}", f"{group} comes from {thing} and from {other}"),
    }
    return sentence(rng.choice(forms[kind]))


def document(rng: random.Random) -> str:
    """A few facts of one group, now and then with a scene."""
    kind = rng.choice(list(QUESTIONS))
    group = rng.choice(list(QUESTIONS[kind][0]))
    lines = [fact(kind, group, rng) for _ in range(rng.randint(2, 4))]
    if rng.random() < 0.4:
        thing = shown(kind, rng.choice(QUESTIONS[kind][0][group]))
        lines.insert(0, sentence(fill(rng.choice(SCENES[kind]), WORDS, rng, held_out=True, thing=thing)))
    return " ".join(lines)


def drill(rng: random.Random) -> tuple[str, str]:
    """A question for the group in words, or one for a letter alone."""
    kind = rng.choice(list(QUESTIONS))
    groups, question = QUESTIONS[kind]
    if rng.random() < 0.4:
        return letter_drill(list(groups), rng)
    group = rng.choice(list(groups))
    thing = shown(kind, rng.choice(groups[group]))
    return f"{sentence(thing)} {question}\nAnswer in one word:", f" {group}"
