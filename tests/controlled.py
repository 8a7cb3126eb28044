"""A small study with short channels and auxiliary signals, of which the channels hold a part."""

from dataclasses import replace

import numpy as np

from ibsync.coupling.spec import WTC
from ibsync.recordings.recording import DyadRow, Recording
from ibsync.recordings.study_file import write_study
from ibsync.study.study import Study

SFREQ, N = 5.0, 300
LONG, SHORT = ("S1_D1", "S1_D2", "S2_D2"), ("S3_D3", "S4_D4")
CHANNELS = LONG + SHORT
AUXILIARY = ("heart_rate", "resp")
SPEC = WTC({"slow": (0.1, 0.3), "fast": (0.5, 1)})


def signals(dyad, person, n_short=2):
    """Channels with scalp and heart in them: {signal: float32 [channel, sample]}."""
    rng = np.random.default_rng([dyad, person])
    common = np.random.default_rng(dyad).standard_normal(N)
    scalp, heart, resp = rng.standard_normal((3, N)) + common
    brain = rng.standard_normal((len(LONG), N)) + 0.5 * common + 2 * scalp + heart
    near = scalp + 0.3 * rng.standard_normal((n_short, N))
    channels = np.concatenate([brain, near])
    return {name: x.astype(np.float32) for name, x in (("hbo", channels), ("auxiliary", np.stack([heart, resp])))}


def made(path, n=4, n_short=lambda _: 2, change=None, **words):
    recordings, rows = [], []
    for dyad in range(n):
        pair = []
        for person in range(2):
            k = n_short(2 * dyad + person)
            channels = CHANNELS[: len(LONG) + k]
            one = Recording(
                f"d{dyad}{'ab'[person]}", f"p{dyad}{'ab'[person]}", "1", "", "", SFREQ, N, 0.0, channels, ("hbo",),
                (True,) * len(channels), short=(False,) * len(LONG) + (True,) * k, auxiliary=AUXILIARY,
            )  # fmt: skip
            one, x = replace(one, **words), signals(dyad, person, k)
            if change:
                one, x = change(one, x)
            recordings.append((one, x))
            pair.append(one)
        rows.append(DyadRow(f"d{dyad}", "1", "", *pair, pair[0].participant, pair[1].participant))
    write_study(path, recordings, {}, rows)
    return Study.open(path)
