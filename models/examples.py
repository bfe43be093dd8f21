"""Small artefacts of random weights, to try the plumbing with: files, settings, runs. They know nothing of markets.

Weights are drawn from seeds, so that two machines with one version of torch write the same files. Nothing says until
when they were trained, for they were not: runs with them are stamped as contaminated, as with any such model.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from models.alpha360 import COLUMNS, FIELDS, LOOKBACK
from models.artefact import Artefact, ArtefactCard, library_versions, load_artefact, save_artefact
from models.krnn import KRNN, KRNNConfiguration, card_configuration
from models.kronos.configuration import ModelSizes, TokenizerSizes
from models.kronos.network import Kronos
from models.kronos.preparation import FIELDS as BAR_FIELDS
from models.kronos.tokenizer import KronosTokenizer
from models.position.head import HeadSizes, PositionHead, Serving
from models.position.loading import feature_names, save_position_head, save_price_transformer
from models.position.price_transformer import PRESETS, PriceTransformer
from models.tft.configuration import TFTConfiguration
from models.tft.heads import Point, Probability, Target
from models.tft.keeping import save_tft
from models.tft.network import TFT
from models.tft.scaling import TargetScales
from models.tft.windows import RELATIVE_INDEX, WindowAssembly

SOURCE = "untrained: random weights, for trying the plumbing"
TIMEFRAME = "1h"
_PRICE_LOOKBACK = 48
_TFT_LOOKBACK = 48
_KRNN_SPREAD = 0.02
"""About what a price differs from the current one, an hour's bars apart: the scaler's unit."""


def write_examples(folder: Path) -> dict[str, Artefact]:
    """Write every example below a folder, and return them by name; what is there under these names is replaced."""
    return {name: make(folder / name) for name, make in EXAMPLES.items()}


def _kronos(folder: Path) -> Artefact:
    coder_sizes = TokenizerSizes(6, 32, 4, 64, 2, 2, 0.0, 0.0, 0.0, 6, 6, 0.05, 1.0, 1.1, 0.05, 6)
    sizes = ModelSizes(6, 6, 2, 32, 4, 64, 0.0, 0.0, 0.0, 0.0, True)
    with _seeded(1):
        network, coder = Kronos(sizes), KronosTokenizer(coder_sizes)
    card = ArtefactCard(
        "kronos",
        {"model": asdict(sizes), "tokenizer": asdict(coder_sizes), "max_context": 128},
        inputs=BAR_FIELDS,
        conventions={"calendar": "open times on the exchange's wall clock", "clip": 5.0},
        libraries=library_versions(),
        source=SOURCE,
    )
    return save_artefact(folder, card, network.state_dict(), tokenizer=coder.state_dict())


def _krnn(folder: Path) -> Artefact:
    with _seeded(2):
        network = KRNN(KRNNConfiguration(cnn_dim=16, rnn_dim=16, rnn_dups=3, rnn_layers=2))
    scale = torch.full((len(COLUMNS),), _KRNN_SPREAD)
    scale[-LOOKBACK:] = 0.5  # volumes differ by far more than prices
    card = ArtefactCard(
        "krnn",
        card_configuration(network.configuration),
        inputs=FIELDS,
        layout=network.configuration.layout,
        timeframe=TIMEFRAME,
        lookback=LOOKBACK,
        horizon=1,
        label={"kind": "rank of forward return", "lag": 1, "horizon": 1},
        scalers={"kind": "robust", "clip": 3.0},
        conventions={"vwap": "typical", "volume": "floor"},
        libraries=library_versions(),
        source=SOURCE,
    )
    return save_artefact(
        folder, card, network.state_dict(), scalers={"median": torch.ones(len(COLUMNS)), "scale": scale}
    )


def _price_transformer(folder: Path) -> Artefact:
    with _seeded(3):
        network = PriceTransformer(PRESETS["nano"])
    return save_price_transformer(folder, network, timeframe=TIMEFRAME, lookback=_PRICE_LOOKBACK, source=SOURCE)


def _position_head(folder: Path) -> Artefact:
    inputs = feature_names(PRESETS["nano"])
    with _seeded(4):
        head = PositionHead(HeadSizes(len(inputs), 32))
        last = head.out[-1]
        assert isinstance(last, torch.nn.Linear)
        torch.nn.init.normal_(last.weight)  # as freshly made, it would wish for one half whatever happens
    price = load_artefact(folder.with_name("price_transformer"))
    return save_position_head(
        folder, head, inputs, Serving(), reads=price.hash, timeframe=TIMEFRAME, source=SOURCE
    )


def _tft(folder: Path) -> Artefact:
    reals = ("log_return", "range", "relative_volume")
    waves = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
    of = TFTConfiguration(
        hidden_size=16,
        attention_head_size=2,
        output_size=(1, 1, 1),
        max_encoder_length=_TFT_LOOKBACK,
        time_varying_reals_encoder=(*reals, *waves, RELATIVE_INDEX),
        time_varying_reals_decoder=(*waves, RELATIVE_INDEX),
        x_reals=(*reals, *waves, RELATIVE_INDEX),
    )
    with _seeded(5):
        network = TFT(of)
    centre, scale = torch.tensor([0.0, 0.008, 0.7]), torch.tensor([0.006, 0.005, 0.3])
    assembly = WindowAssembly(of, reals, known=waves, centre=centre, scale=scale)
    targets = (Target("up", Probability()), Target("return", Point()), Target("drawdown", Probability()))
    scales = TargetScales(torch.zeros(1, 1, 3), torch.tensor([[[1.0, 0.01, 1.0]]]))
    facts = ArtefactCard(
        "tft",
        {},
        timeframe=TIMEFRAME,
        label={
            "horizon": 12,
            "up": "whether the close 12 bars ahead is above the last one",
            "return": "log return to the close 12 bars ahead",
            "drawdown": "whether the deepest fall on the way is more than the window's volatility times √12",
        },
        source=SOURCE,
    )
    return save_tft(folder, network.eval(), assembly, targets, scales=scales, horizon=1, facts=facts)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let torch draw from a seed, and go on afterwards as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


EXAMPLES: Mapping[str, Callable[[Path], Artefact]] = {
    "kronos": _kronos,
    "krnn": _krnn,
    "price_transformer": _price_transformer,
    "position_head": _position_head,
    "tft": _tft,
}
