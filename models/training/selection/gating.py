"""What a trained transformer itself looks at: the mean weight of each variable of the past."""

from collections.abc import Mapping

import torch

from engine.bars import iso
from engine.errors import PluginError
from models.artefact import Artefact
from models.tft.loading import load_tft
from models.tft.windows import WindowAssembly
from models.training.data.splits import Part
from models.training.data.table import Table


def gating_of(artefact: Artefact, table: Table, part: Part, *, most: int = 4096) -> Mapping[str, float]:
    """Return the mean weights over windows of a part, by feature.

    Args:
        table: with the artefact's own features, lookback and calendar; part: training, whose windows may be looked at.
        most: windows, evenly spread.
    Raises:
        PluginError: the artefact is no transformer, was trained on other features than the table has, or has seen what
            is later than the part: its checkpoint, too, was chosen by bars that it was judged on.
    """
    card = artefact.card
    if card.architecture != "tft":
        raise PluginError(
            f"--gating: the artefact is a {card.architecture}; expected a tft, for gates are those of a transformer: "
            "`train tft` makes one"
        )
    missing = [name for name in card.inputs if name not in table.names]
    if missing or card.lookback != table.plan.lookback:
        what = f"it has {', '.join(missing[:3])}" if missing else f"its lookback is {card.lookback}"
        raise PluginError(f"gates: the artefact was not trained on these data: {what}; train one with these settings")
    if part.end is not None and (card.trained_until is None or card.trained_until > part.end):
        until = "it does not say until when" if card.trained_until is None else f"until {iso(card.trained_until)}"
        raise PluginError(
            f"--gating: the artefact was trained and its checkpoint chosen on bars ({until}) that are to judge the "
            f"choice of features; expected none after {iso(part.end)}, where training ends here: train one with "
            f"split.end = {iso(part.end)} or earlier, and split.valid before it"
        )
    network = load_tft(artefact.weights, card.configuration)
    scalers = artefact.tensors["scalers"]
    assembly = WindowAssembly(
        network.configuration, card.inputs, known=table.plan.known, centre=scalers["centre"], scale=scalers["scale"]
    )
    windows = part.of(table.windows())
    places = torch.arange(0, len(windows), max(len(windows) // most, 1))
    columns = [table.names.index(name) for name in card.inputs]
    symbols, periods = ([card.vocabularies.get(kind, {}).get(getattr(one, name), 0) for one in table.groups]
                        for kind, name in (("symbol", "symbol"), ("period", "timeframe")))  # fmt: skip
    of_symbol, of_period = torch.tensor(symbols), torch.tensor(periods)
    summed = torch.zeros(len(network.configuration.encoder_variables))
    with torch.inference_mode():
        for some in torch.split(places, 512):
            batch = windows.gather(some)
            codes = {"symbol": of_symbol[batch["group"]], "period": of_period[batch["group"]]}
            inputs = assembly(batch["values"][..., columns], table.plan.steps, known=batch.get("known"), codes=codes)
            summed += network(inputs).encoder_variables.mean(dim=(1, 2)).sum(dim=0)
    mean = (summed / len(places)).tolist()
    by_name = dict(zip(network.configuration.encoder_variables, mean, strict=True))
    return {name: by_name[name] for name in card.inputs}
