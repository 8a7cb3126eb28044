"""Made-up studies of persons who meet a trained partner over sessions and probe partners before and after."""

import numpy as np
import xarray as xr

BANDS = {"task": (0.02, 0.1), "slow": (0.01, 0.02)}


def made_meetings(
    n_persons=12,
    n_sessions=4,
    *,
    slope=0.0,
    n_therapists=None,
    n_strangers=None,
    n_probes=1,
    before=True,
    gain_sd=0.02,
    noise=0.02,
    therapist_sd=0.0,
    stranger_sd=0.0,
    person_sd=0.03,
    channels=("S1_D1", "S1_D2"),
    seed=0,
):
    """
    Synchrony as `Study.synchrony` gives it; every feature is a study of its own, independent of the others.

    A person's coherence with the therapist changes by the person's own gain per session, and coherence with strangers
    after training is `slope` times that gain higher. Therapists add to the gains of their clients, strangers to the
    probes of theirs.
    """
    random = np.random.default_rng(seed)
    n_therapists, n_strangers = n_therapists or n_persons, n_strangers or n_persons * n_probes
    shape = (1, len(channels), len(channels), len(BANDS))
    therapist = random.normal(0, therapist_sd, (n_therapists, *shape))
    stranger = random.normal(0, stranger_sd, (n_strangers, *shape))
    gains = random.normal(0.01, gain_sd, (n_persons, *shape)) + therapist[np.arange(n_persons) % n_therapists]
    person = random.normal(0, person_sd, (n_persons, *shape))
    rows, values = [], []

    def row(dyad, session, partner, role, level):
        rows.append((dyad, session, partner, role))
        values.append(level + random.normal(0, noise, shape))

    for p in range(n_persons):
        name, t = f"p{p + 1:02d}", p % n_therapists
        for s in range(n_sessions):
            row(f"{name}-t", str(s + 1), f"t{t + 1:02d}", "therapist", 0.35 + person[p] + gains[p] * s)
        for k in range(n_probes):
            x = (p * n_probes + k) % n_strangers
            who = f"x{x + 1:02d}"
            if before:
                row(f"{name}-{who}", "0", who, "stranger", 0.35 + person[p] + stranger[x])
            level = 0.35 + person[p] + stranger[x] + slope * gains[p]
            row(f"{name}-{who}", str(n_sessions + 1), who, "stranger", level)
    names = [dyad.split("-")[0] for dyad, *_ in rows]
    order = random.permutation(len(rows))
    return dataset(rows, names, np.array(values), channels).isel(dyad=order)


def dataset(rows, persons, values, channels, channels_b=None, persons_first=True):
    dims = ("dyad", "epoch", "channel_a", "channel_b", "band")
    dyads, sessions, partners, roles = (list(column) for column in zip(*rows, strict=True))
    return xr.Dataset(
        {"coherence": (dims, values), "valid_fraction": (dims, np.full(values.shape, 0.9))},
        coords={
            "dyad": dyads,
            "session": ("dyad", sessions),
            "task": ("dyad", [""] * len(rows)),
            "person_a": ("dyad", list(persons)),
            "person_b": ("dyad", partners),
            "role_a": ("dyad", ["client"] * len(rows)),
            "role_b": ("dyad", roles),
            "group": ("dyad", [""] * len(rows)),
            "epoch": ["talk"],
            "channel_a": list(channels),
            "channel_b": list(channels_b or channels),
            "band": list(BANDS)[: values.shape[-1]],
            "band_low_hz": ("band", [low for low, _ in BANDS.values()][: values.shape[-1]]),
            "band_high_hz": ("band", [high for _, high in BANDS.values()][: values.shape[-1]]),
            "signal": "hbo",
        },
        attrs={"kind": "synchrony", "measure": "coherence", "ibsync_version": "0.1.0"},
    )
