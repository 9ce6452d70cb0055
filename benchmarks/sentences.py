"""Fifty sentences of 1 to 20 words, each length at least once, for the speech benchmarks."""

from __future__ import annotations

__all__ = ["SENTENCES"]

SENTENCES = tuple(
    """
tomorrow
good evening
please call back
the kettle is boiling
we missed the last train
nobody told him about the wedding
her brother repairs old clocks and radios
the surgeon will see you after the scan
put the blue folder on top of the printer
they moved to the coast when the factory was closed
my neighbour keeps seven hens and a very angry old goose
the results of your blood test arrived late on friday afternoon again
if it rains tomorrow we shall meet in the library instead of outside
she wrote down the account number and then lost the paper on the bus
the council decided to plant forty young lime trees along the road beside the canal
after the storm we walked along the beach and found a bottle with a faded letter
he has taken the same small white pill every morning for eleven years and still feels tired
the museum opens at nine but the guided tour of the cellar starts only when ten people wait
a tall man in a grey coat asked twice whether the night boat to the islands still leaves here
when the orchestra stopped playing the whole audience stayed silent for a moment and then stood up to cheer loudly
hello
never again
turn left here
lunch is almost ready
the bridge opened last spring
someone has painted the gate green
a lawyer answered all of their questions
the patient denies any pain in the chest
two buses were late because of the heavy snow
please transfer the money before the end of the month
the baker sold every loaf of rye bread before half past
our daughter was born in a small hospital near the northern border
the engineer checked each valve twice and signed the report without a word
grandfather planted these apple trees in the year that the war was finally over
there was a strong smell of gas in the kitchen when we came home from work
the pharmacist asked for the date of birth and compared it with the name on the prescription
every winter the river freezes over and the children of both villages meet on the ice to skate
in the second half the visitors scored three goals while our goalkeeper was still looking for his left glove
the lighthouse keeper wrote one short line about the weather each evening and nothing at all about his life there
my sister says that the manager reads every message we send to each other and keeps a copy of them
thank you
where is everyone
the doctor prescribed antibiotics yesterday
an old friend of mine visited from lisbon
the insurance does not cover damage caused by water or frost
she is allergic to peanuts and carries an injection in her bag
the witness could not remember the colour of the car or its number
when we got to the cabin the door was open and the stove was still warm
the committee will publish the names of the three winners on the first monday of next month in london
before you leave please switch off the heating close both windows and give the spare key to the woman downstairs
""".strip().splitlines()
)
