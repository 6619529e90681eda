"""Words chosen by hand for the embedded tasks: names, trades, kinds of things, adjectives.

Everything here is common knowledge written down for this project (Apache-2.0). An adjective is
only a candidate: whether people find it positive or negative is read from the VADER ratings.
"""

from __future__ import annotations

NAMES = """
Aaron Abigail Adam Adrian Agnes Alan Albert Alex Alice Amanda Amber Amy Andrea Andrew Angela Anna
Anthony Arthur Barbara Beth Brian Bruce Carl Carmen Carol Catherine Cecil Charles Chloe Claire
Clara Colin Daisy Daniel David Dennis Diana Donald Doris Edgar Edith Edward Elena Ella Emily Emma
Eric Ethan Eva Felix Fiona Frank Gary George Gloria Grace Greg Hannah Harold Harry Heather Helen
Henry Hugo Ian Irene Isaac Ivan Jack Jacob James Jane Janet Jason Jean Jenny Jessica Joan John
Jonas Joseph Joyce Julia Karen Karl Kate Keith Kevin Laura Leo Leon Linda Lisa Louis Lucy Luke
Marcus Margaret Maria Mark Martha Martin Mary Max Megan Mia Michael Molly Monica Nancy Nathan Nick
Nina Noah Nora Oliver Oscar Pamela Patrick Paul Peter Philip Rachel Ralph Rebecca Richard Robert
Rosa Ruth Ryan Sally Samuel Sandra Sara Scott Sharon Simon Sofia Stella Steven Susan Teresa Thomas
Tina Toby Tom Vera Victor Walter Wendy William Zoe
""".split()

TRADES = """
accountant actor architect artist athlete author baker banker barber boxer builder butcher captain
carpenter chemist clerk coach cook dancer dentist designer detective diver doctor driver editor
engineer farmer gardener guard guide hunter inventor janitor jeweler judge juggler lawyer librarian
magician manager mayor mechanic miner minister model musician nurse painter pharmacist philosopher
photographer pianist pilot plumber poet priest professor programmer publisher reporter
sailor scientist sculptor senator singer smith soldier student surgeon swimmer tailor teacher thief
tourist trader translator tutor umpire violinist waiter weaver writer
""".split()

# A kind, with its article, and things of that kind.
KINDS = {
    "a fruit": "an apple, a banana, a pear, a peach, a mango, a lemon, a plum, a melon, a kiwi",
    "a vegetable": "a carrot, an onion, a potato, a cabbage, a turnip, a leek, a radish, a beet",
    "an insect": "an ant, a bee, a beetle, a butterfly, a moth, a wasp, a mosquito, a cricket",
    "a fish": "a trout, a salmon, a shark, a carp, a herring, a tuna, a cod, a pike",
    "a bird": "an eagle, a sparrow, a parrot, an owl, a pigeon, a robin, a crow, a swan",
    "a tree": "an oak, a pine, a maple, a birch, a willow, an elm, a cedar, a spruce",
    "a flower": "a rose, a tulip, a daisy, a lily, an orchid, a daffodil, a violet, a poppy",
    "a dog": "a poodle, a beagle, a terrier, a spaniel, a bulldog, a collie, a dachshund",
    "a musical instrument": "a violin, a piano, a flute, a trumpet, a guitar, a cello, a harp",
    "a tool": "a hammer, a saw, a screwdriver, a wrench, a drill, a chisel, a pair of pliers",
    "a weapon": "a sword, a spear, a rifle, a dagger, a pistol, a bow, a cannon",
    "a vehicle": "a car, a truck, a bus, a van, a tractor, a motorcycle, an ambulance",
    "a boat": "a canoe, a kayak, a ferry, a yacht, a raft, a gondola, a rowing boat",
    "a piece of furniture": "a chair, a table, a sofa, a wardrobe, a bed, a desk, a bookcase",
    "a piece of clothing": "a shirt, a jacket, a sweater, a skirt, a coat, a dress, a vest",
    "a hat": "a beret, a bonnet, a helmet, a sombrero, a turban, a top hat, a bowler",
    "a shoe": "a boot, a sandal, a slipper, a sneaker, a loafer, a moccasin, a clog",
    "a piece of jewelry": "a ring, a necklace, a bracelet, a brooch, an earring, a locket",
    "a gem": "a diamond, a ruby, an emerald, a sapphire, an opal, a topaz, a pearl",
    "a drink": "a coffee, a lemonade, a milkshake, a beer, a glass of wine, a cup of tea",
    "a dessert": "an ice cream, a brownie, a pudding, a cheesecake, a pie, a tart, a sundae",
    "a reptile": "a lizard, a snake, a crocodile, a turtle, a gecko, an iguana, an alligator",
    "a building": "a church, a castle, a hospital, a school, a barn, a factory, a library",
    "a container": "a box, a basket, a bucket, a barrel, a jar, a crate, a suitcase",
    "a toy": "a doll, a kite, a yo-yo, a puzzle, a spinning top, a teddy bear, a rattle",
    "a coin": "a penny, a dime, a nickel, a quarter, a shilling, a farthing, a guinea",
    "a book": "a novel, a dictionary, an atlas, a diary, a cookbook, a biography, a textbook",
    "a kitchen utensil": "a spoon, a ladle, a whisk, a spatula, a fork, a grater, a sieve",
    "a mammal": "a horse, a cow, a whale, a rabbit, a bear, a goat, a monkey, an elephant",
    "a seat": "a bench, a stool, a throne, an armchair, a rocking chair, a pew",
    "a shellfish": "a crab, a lobster, an oyster, a clam, a mussel, a shrimp, a scallop",
    "an electronic device": "a laptop, a phone, a camera, a printer, a radio, a television",
    "a nut": "an almond, a walnut, a hazelnut, a pecan, a cashew, a pistachio, a chestnut",
    "a herb": "a sprig of mint, a sprig of thyme, a bunch of basil, a bunch of parsley",
}

ADJECTIVES = """
admirable adorable amazing amusing annoying appalling appealing attractive awesome awful awkward bad
beautiful boring brilliant brutal calm charming cheerful comfortable confusing cool cozy crazy
creative cute dangerous delightful depressing dirty disappointing disastrous disgusting dishonest
dismal disturbing dreadful dull elegant embarrassing energetic enjoyable entertaining enthusiastic
excellent exciting exhausting exquisite fabulous fantastic fascinating filthy fine flawless foul
fresh friendly frightening frustrating fun funny generous gentle ghastly gloomy glorious good
gorgeous graceful grand great grim gross harmful harsh helpful hideous hilarious horrendous horrible
horrid horrific impressive inferior inspiring interesting irritating joyful lame lousy lovely
magnificent marvelous mediocre meaningless miserable nasty neat nice obnoxious offensive outstanding
painful pathetic peaceful perfect pitiful playful pleasant pleasing poor popular precious pretty
promising refreshing relaxing reliable repulsive revolting ridiculous robust romantic rotten rude
sad satisfying scary sensational shady shameful shocking silly sinister special spectacular splendid
sterile stressful stupid sucky sunny superb superior sweet tense terrible terrific terrifying
thoughtful thrilling tiresome tough tragic troublesome ugly unacceptable uncomfortable unfair
unfriendly unimpressive unpleasant unprofessional unsatisfactory upsetting useful useless valuable
vibrant vile weird wonderful worthless wrong
""".split()

# A place or a thing that is reviewed, and what of it can be judged.
REVIEWED = {
    "hotel": "room, breakfast, pool, view, lobby",
    "restaurant": "food, service, music, menu, dessert",
    "film": "story, acting, ending, soundtrack, first scene",
    "book": "plot, style, cover, last chapter, main character",
    "museum": "entrance, guide, shop, exhibition, garden",
    "concert": "singer, sound, stage, crowd, opening act",
    "school": "library, canteen, playground, uniform, yearbook",
    "train ride": "seat, scenery, meal, carriage, conductor",
}

# Things one person does to another, in their base form.
DEEDS = """
admire advise amuse annoy applaud approach arrest avoid bother call chase cheer comfort contact
criticize deceive defend disappoint disturb embarrass encourage entertain escort examine follow
frighten greet help hire hug ignore impress inform inspire insult interrupt interview introduce
invite kiss mention miss mock notice offend paint pay phone photograph praise prefer protect
punish push question recognize recommend rescue reward save scare scold shock support surprise
teach tease thank threaten touch trust visit warn watch welcome
""".split()


def in_words(number: int) -> str:
    """A number below ten thousand in English, British style: two hundred and three."""
    ones = (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen"
    ).split()
    tens = "twenty thirty forty fifty sixty seventy eighty ninety".split()
    if number < 20:
        return ones[number]
    if number < 100:
        return tens[number // 10 - 2] + (f"-{ones[number % 10]}" if number % 10 else "")
    size, unit = (100, "hundred") if number < 1000 else (1000, "thousand")
    many, rest = divmod(number, size)
    link = " and " if rest < 100 else " "
    return f"{in_words(many)} {unit}" + (f"{link}{in_words(rest)}" if rest else "")
