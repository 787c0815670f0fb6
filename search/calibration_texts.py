"""What a floor is calibrated with beside judged histories: nonsense, and questions without a word of their answers."""

from __future__ import annotations

# Questions whose answers are in nobody's everyday conversations.
NONSENSE = """\
How does a sewage treatment plant remove phosphorus?
Which enzymes take part in the Krebs cycle?
How do I roll back a deployment with kubectl?
What is the boiling point of tungsten hexafluoride?
Who won the second battle of the Marne?
How is the Riemann zeta function continued analytically?
Which glaciers drain into the Ross ice shelf?
What torque do the cylinder head bolts of a tractor need?
How are transistors doped with boron?
When was the Treaty of Westphalia signed?
How do I rotate a key in an HSM?
What does the subjunctive look like in Icelandic?
Which moons of Saturn have subsurface oceans?
How does a Stirling engine turn heat into work?
What is the statute of limitations for maritime salvage?
How thick must the concrete of a bridge pier be?
Which bacteria ferment sauerkraut?
How do you tune a harpsichord in meantone temperament?
What is the difference between gneiss and schist?
How do I vacuum a bloated PostgreSQL table?
Which emperor built the aqueduct of Segovia?
How much uranium does a reactor of the CANDU type burn?
Why does the yen weaken when bond yields rise?
How are contact lenses polymerised?
What is the melting point of gallium arsenide?
Which quorum does a Raft cluster of five need?
How do lichens colonise bare rock?
What did Wittgenstein mean by a language game?
How is aluminium smelted from bauxite?
Which knots hold a spinnaker sheet?
How long do cicadas stay underground?
What is the capital gains tax on inherited farmland in Austria?
How do I parse a binary protocol in Erlang?
Which valves does a trombone with an F attachment have?
How is the orbit of a geostationary satellite corrected?
What causes liquefaction of soil in an earthquake?
Which alloys are used for turbine blades?
How do I configure BGP communities on a router?
Who deciphered Linear B?
How is Roquefort inoculated with mould?
What is the half-life of caesium-137?
How does a diode bridge rectify alternating current?
Which pigments did Vermeer grind for his blues?
How do I file a patent opposition in Munich?
What is the tensile strength of spider silk?
How are tides predicted from harmonic constituents?
Which parasites cause river blindness?
How do I balance the chemical equation of rust?
What is the airspeed at which a glider stalls?
How did the Hanseatic League tax herring?
Which lenses correct chromatic aberration?
How does a compiler allocate registers?
What is the pH of a carbonate buffer?
How do beavers seal their dams?
Which clauses does a reinsurance treaty need?
How is a suspension bridge's cable spun?
What is the surface gravity of Neptune?
How do I sharpen the blades of a lathe?
Which rivers did the Romans canalise?
How is vellum made from calfskin?
""".splitlines()

# What was said, and what somebody types who has forgotten the words.
PARAPHRASES = (
    ("The cat sleeps on the radiator all winter.", "pet likes heat"),
    ("My car would not start this morning, the battery was dead.", "trouble with the vehicle"),
    ("I have to see Dr. Meyer about my knee next Tuesday.", "physician appointment"),
    ("For supper a lentil soup with carrots would be quick.", "what should I cook tonight"),
    ("They offered me a raise of eight percent if I stay.", "earning more money"),
    ("We rented a cottage near the beach in Brittany for August.", "holiday by the sea"),
    ("I practise the piano for half an hour before breakfast.", "learning an instrument"),
    ("Our new flat has a balcony, the boxes arrive on Friday.", "moving to another place"),
    ("Our daughter wakes up five times a night and we are exhausted.", "baby sleep problems"),
    ("I have not touched a cigarette for three weeks.", "quit smoking"),
    ("The laptop takes ten minutes to boot since the update.", "slow computer"),
    ("We still need a florist and a band for the ceremony in June.", "wedding preparations"),
    ("Tom shouted at me in the meeting and I don't want to work with him any more.", "argument with a colleague"),
    ("The tomatoes on the terrace have their first green fruits.", "growing vegetables"),
    ("I get panic attacks on airplanes as soon as the doors close.", "afraid of flying"),
    ("I cannot find what opens my front door, it must have dropped out of my jacket.", "lost keys"),
    ("Maybe a silk scarf for Mum's birthday.", "present for mother"),
    ("I want to finish a marathon in under four hours.", "running training"),
    ("It has been raining and storming for days.", "bad weather"),
    ("I revise organic chemistry every evening, the test is on Monday.", "exam preparation"),
    ("We turned the heating down to nineteen degrees and insulated the attic.", "saving energy at home"),
    ("The puppy has not eaten since yesterday and limps.", "dog illness"),
    ("I loved The Remains of the Day, you should read it.", "good novel recommendation"),
    ("Somebody took my bike from in front of the station.", "stolen bicycle"),
    ("Tomorrow they will ask me why I want to join their firm.", "job interview"),
    ("My molar hurts whenever I drink something cold.", "tooth pain"),
    ("The declaration for the revenue office is due at the end of July.", "tax papers"),
    ("I bought a second-hand camera and take portraits of my neighbours.", "photography hobby"),
    ("Since everybody left town I hardly talk to anyone.", "feeling lonely"),
    ("I gave up sugar and dropped six kilos.", "losing weight"),
)
