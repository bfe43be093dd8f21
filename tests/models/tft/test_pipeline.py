"""From windows of features to forecasts: inputs by name, the ring, whole forecasts, and nothing from the future."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.errors import PluginError
from models.artefact import ArtefactCard, load_artefact, save_artefact
from models.tft.explanation import explain
from models.tft.heads import Point, Probability, Quantiles, Target
from models.tft.keeping import pipeline_of as kept_pipeline
from models.tft.keeping import save_tft
from models.tft.pipeline import TFTPipeline
from models.tft.ring import FeatureRing
from models.tft.scaling import TargetScales
from models.tft.windows import WindowAssembly, calendar_reals
from tests.models.tft.networks import make_inputs, make_network

PARAMETERS = {
    "static_categoricals": ["symbol"],
    "static_reals": ["encoder_length"],
    "time_varying_categoricals_encoder": ["session"],
    "time_varying_categoricals_decoder": ["session"],
    "time_varying_reals_encoder": ["relative_time_idx", "hour_sin", "momentum", "range"],
    "time_varying_reals_decoder": ["relative_time_idx", "hour_sin"],
    "x_reals": ["range", "encoder_length", "relative_time_idx", "momentum", "hour_sin"],
    "x_categoricals": ["session", "symbol", "never used"],
    "embedding_sizes": {"symbol": [4, 3], "session": [3, 2]},
    "max_encoder_length": 8,
    "output_size": [3, 1, 1],
}
FEATURES = ("momentum", "range", "spare")
TARGETS = [
    Target("return", Quantiles((0.1, 0.5, 0.9))),
    Target("volatility", Point()),
    Target("up", Probability(4.0)),
]


def assembly_of(network, **options) -> WindowAssembly:
    return WindowAssembly(network.configuration, FEATURES, known=("hour_sin",), **options)


def asked(rows: int, past: int = 8, ahead: int = 2, seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    return {
        "values": torch.randn(rows, past, 3, generator=generator),
        "known": torch.randn(rows, past + ahead, 1, generator=generator),
        "codes": {
            "symbol": torch.randint(0, 4, (rows,), generator=generator),
            "session": torch.randint(0, 3, (rows, past + ahead), generator=generator),
        },
    }


def test_inputs_stand_where_the_network_reads_them():
    network = make_network(**PARAMETERS)
    centre, scale = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([2.0, 4.0, 1.0])
    given = asked(3, past=6)
    values, known, codes = given["values"], given["known"], given["codes"]

    inputs = assembly_of(network, centre=centre, scale=scale)(values, 2, known=known, codes=codes)

    place = {name: at for at, name in enumerate(PARAMETERS["x_reals"])}
    torch.testing.assert_close(inputs.encoder_cont[..., place["momentum"]], (values[..., 0] - 1) / 2)
    torch.testing.assert_close(inputs.encoder_cont[..., place["range"]], (values[..., 1] - 2) / 4)
    torch.testing.assert_close(inputs.encoder_cont[..., place["hour_sin"]], known[:, :6, 0])
    torch.testing.assert_close(inputs.decoder_cont[..., place["hour_sin"]], known[:, 6:, 0])
    index = torch.cat([inputs.encoder_cont, inputs.decoder_cont], 1)[0, :, place["relative_time_idx"]]
    assert (index * 8).tolist() == [-6, -5, -4, -3, -2, -1, 0, 1]
    assert inputs.encoder_cont[0, 0, place["encoder_length"]] == 0.5  # 2 · (6 − 4) / 8
    assert not inputs.decoder_cont[..., [place["momentum"], place["range"]]].any()  # not known, and not made up
    assert torch.equal(inputs.encoder_cat[..., 1], codes["symbol"][:, None].expand(3, 6))
    assert torch.equal(inputs.decoder_cat[..., 0], codes["session"][:, 6:])


def test_features_that_stand_in_order_are_copied_at_once():
    names = ["a", "b", "c"]
    network = make_network(time_varying_reals_encoder=names, x_reals=[*names, "relative_time_idx"])
    values = torch.randn(2, 5, 3)

    inputs = WindowAssembly(network.configuration, names)(values, 1)

    assert torch.equal(inputs.encoder_cont[..., :3], values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"values": torch.zeros(3, 8, 2)},
            r"windows have shape \[3, 8, 2\]; expected \[N, T, 3\]: momentum, range, spare",
        ),
        ({"values": torch.zeros(3, 9, 3)}, "windows have 9 steps; the network was trained on 8 at most"),
        ({"known": None}, r"known ahead is missing; expected \[3, 10, 1\]: hour_sin"),
        ({"known": torch.zeros(3, 8, 1)}, r"known ahead is of shape \[3, 8, 1\]; expected \[3, 10, 1\]"),
        ({"codes": {}}, "there are no codes of 'session'"),
        (
            {"codes": {"symbol": torch.zeros(3, 2, dtype=torch.int64), "session": torch.zeros(3, dtype=torch.int64)}},
            r"codes of 'symbol' have shape \[3, 2\]; expected \[3\] or \[3, 10\]",
        ),
    ],
)
def test_windows_that_do_not_fit_are_refused(change, message):
    given = {**asked(3), **change}
    assembly = assembly_of(make_network(**PARAMETERS))

    with pytest.raises(PluginError, match=message):
        assembly(given["values"], 2, known=given["known"], codes=given["codes"])


@pytest.mark.parametrize(
    ("features", "known", "message"),
    [
        (("momentum", "rang"), ("hour_sin",), "the network's real 'range' is neither .*did you mean 'rang'"),
        (("momentum", "range", "hour_sin"), (), "the decoder takes 'hour_sin', which is a feature of bars"),
    ],
)
def test_networks_that_no_window_feeds_are_refused(features, known, message):
    with pytest.raises(PluginError, match=message):
        WindowAssembly(make_network(**PARAMETERS).configuration, features, known=known)


def test_scalers_that_do_not_fit_are_refused():
    network = make_network(**PARAMETERS)

    with pytest.raises(PluginError, match="have 2 centres and 3 scales; expected one for each of 3"):
        assembly_of(network, centre=torch.zeros(2))
    with pytest.raises(PluginError, match="the scale of 'range' is 0.0; leave the feature out"):
        assembly_of(network, scale=torch.tensor([1.0, 0.0, 1.0]))


def test_waves_of_the_calendar():
    calendar = torch.tensor([[[6, 0], [18, 3]]])

    waves = calendar_reals(calendar, ("hour", "weekday"), ("hour_sin", "weekday_cos"))

    expected = torch.tensor([[[1.0, 1.0], [-1.0, float(torch.cos(torch.tensor(2 * torch.pi * 3 / 7)))]]])
    torch.testing.assert_close(waves, expected)
    with pytest.raises(PluginError, match="'minute_sin' is no wave of the calendar"):
        calendar_reals(calendar, ("hour", "weekday"), ("minute_sin",))


# ── forecasts ───────────────────────────────────────────────────────────────────────────────────────────────────────


def pipeline_of(network, **options) -> TFTPipeline:
    return TFTPipeline(network, assembly_of(network), TARGETS, horizon=2, **options)


def test_a_forecast_is_the_network_s_in_the_targets_units():
    network = make_network(**PARAMETERS)
    scales = TargetScales(torch.tensor([[[1.0, 5.0, 0.0]]] * 2), torch.tensor([[[2.0, 3.0, 1.0]]] * 2))
    given = asked(4)

    forecast = pipeline_of(network, scales=scales).forecast(**given, symbols=torch.tensor([1, 0, 1, 7]))

    with torch.no_grad():
        raw = network(assembly_of(network)(given["values"], 2, known=given["known"], codes=given["codes"])).raw
    torch.testing.assert_close(forecast.values["return"], (raw[0] * 2 + 1).sort(-1).values, atol=1e-5, rtol=0)
    torch.testing.assert_close(forecast.values["volatility"], raw[1] * 3 + 5, atol=1e-5, rtol=0)
    odds = raw[2].exp() / 4
    torch.testing.assert_close(forecast.values["up"], odds / (1 + odds), atol=1e-5, rtol=0)
    assert forecast.output.encoder_variables.shape == (4, 8, 1, 5)


@pytest.mark.parametrize("batch", [1, 3, 512])
def test_a_forecast_does_not_depend_on_its_batch(batch):
    network = make_network(**PARAMETERS)
    given = asked(7)
    whole = pipeline_of(network).forecast(**given)

    parts = pipeline_of(network, batch=batch).forecast(**given)

    for name, values in whole.values.items():
        torch.testing.assert_close(parts.values[name], values, atol=2e-6, rtol=0)


def test_a_window_with_nan_spoils_no_other():
    pipeline = pipeline_of(make_network(**PARAMETERS))
    given = asked(5)
    clean = pipeline.forecast(**given)
    given["values"][2, 3, 0] = torch.nan

    spoiled = pipeline.forecast(**given)

    assert spoiled.values["return"][2].isnan().all()
    rest = [0, 1, 3, 4]
    for name, values in spoiled.values.items():
        assert torch.equal(values[rest], clean.values[name][rest])


def test_a_forecast_leaves_what_it_was_given_alone():
    pipeline = pipeline_of(make_network(**PARAMETERS))
    given = asked(2)
    kept = given["values"].clone()

    first = pipeline.forecast(**given)
    again = pipeline.forecast(**given)

    assert torch.equal(given["values"], kept)
    assert all(torch.equal(first.values[name], values) for name, values in again.values.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon is 0; expected 1 or more"),
        ({"targets": TARGETS[:2]}, "targets are return, volatility; expected 3 different ones"),
        (
            {"scales": TargetScales(torch.zeros(1, 1, 2), torch.ones(1, 1, 2))},
            "scales are of 2 targets; the network has 3",
        ),
    ],
)
def test_pipelines_that_cannot_be_are_refused(options, message):
    network = make_network(**PARAMETERS)

    with pytest.raises(PluginError, match=message):
        TFTPipeline(network, assembly_of(network), **{"targets": TARGETS, **options})


# ── the ring ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_ring_has_the_last_rows_wherever_it_stands():
    ring = FeatureRing(["A", "B"], 4, 2)
    rows = np.arange(60, dtype=np.float32).reshape(30, 2)
    for count in range(30):
        ring.push("A", rows[count])
        if count % 3 == 0:
            ring.push("B", -torch.from_numpy(rows[count]))
        assert ring.is_ready("A") == (count >= 3)
        if count >= 3:
            assert torch.equal(ring.window("A"), torch.from_numpy(rows[count - 3 : count + 1]))

    both = ring.windows(["B", "A"])
    assert torch.equal(both[0], -torch.from_numpy(rows[18:30:3]))
    assert torch.equal(both[1], torch.from_numpy(rows[26:]))
    assert ring.windows(["A"]).data_ptr() == ring.window("A").data_ptr()


def test_a_ring_says_what_it_lacks():
    ring = FeatureRing(["BTC/USDT"], 4, 2)

    with pytest.raises(PluginError, match="BTC/USDT has 0 bars; expected 4 before its first forecast"):
        ring.window("BTC/USDT")
    with pytest.raises(PluginError, match="the ring has no 'BTC/USD'; did you mean 'BTC/USDT'"):
        ring.push("BTC/USD", torch.zeros(2))


def test_bar_by_bar_is_the_batch():
    """The ring and a batch of all windows cut ahead say the same."""
    names = ["a", "b"]
    network = make_network(time_varying_reals_encoder=names, x_reals=names, output_size=1)
    pipeline = TFTPipeline(network, WindowAssembly(network.configuration, names), [Target("return", Point())])
    series = torch.randn(30, 2, generator=torch.Generator().manual_seed(4))
    batch = pipeline.forecast(series.unfold(0, 10, 1).transpose(1, 2))

    ring = FeatureRing(["A"], 10, 2)
    said = []
    for row in series:
        ring.push("A", row)
        if ring.is_ready("A"):
            said.append(pipeline.forecast(ring.windows(["A"])).values["return"])

    torch.testing.assert_close(torch.cat(said), batch.values["return"], atol=2e-6, rtol=0)


# ── kept ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_artefact_has_all_that_a_forecast_needs(tmp_path):
    network = make_network(**PARAMETERS)
    assembly = assembly_of(network, centre=torch.tensor([0.1, 0.2, 0.3]), scale=torch.tensor([1.0, 2.0, 3.0]))
    scales = TargetScales(torch.randn(3, 2, 3), torch.rand(3, 2, 3) + 0.5)
    pipeline = TFTPipeline(network, assembly, TARGETS, scales=scales, horizon=2)
    facts = ArtefactCard("tft", {}, timeframe="1h", trained_until=7, vocabularies={"symbol": {"BTC/USDT": 1}})

    save_tft(tmp_path, network, assembly, TARGETS, scales=scales, horizon=2, facts=facts)
    artefact = load_artefact(tmp_path)
    again = kept_pipeline(artefact)

    given = {**asked(4), "symbols": torch.tensor([0, 1, 2, 9])}
    for name, values in pipeline.forecast(**given).values.items():
        assert torch.equal(again.forecast(**given).values[name], values)
    assert (artefact.card.timeframe, artefact.card.trained_until, artefact.card.lookback) == ("1h", 7, 8)
    assert artefact.card.vocabularies == {"symbol": {"BTC/USDT": 1}}


def test_an_artefact_that_does_not_say_what_its_outputs_mean_is_refused(tmp_path):
    network = make_network(**PARAMETERS)
    card = ArtefactCard("tft", dict(PARAMETERS))

    with pytest.raises(PluginError, match="does not say what its outputs mean"):
        kept_pipeline(save_artefact(tmp_path / "foreign", card, network.state_dict()))
    with pytest.raises(PluginError, match="the artefact is of architecture 'krnn'; expected 'tft'"):
        kept_pipeline(save_artefact(tmp_path / "other", ArtefactCard("krnn", {}), network.state_dict()))


# ── explained ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_shares_are_told_by_name_and_add_up_to_one():
    network = make_network(**PARAMETERS)
    forecast = pipeline_of(network).forecast(**asked(4))

    why = explain(forecast.output, network.configuration)

    assert list(why.past) == ["session", "relative_time_idx", "hour_sin", "momentum", "range"]
    assert list(why.static) == ["symbol", "encoder_length"]
    for shares in (why.static, why.past, why.ahead):
        torch.testing.assert_close(sum(shares.values()), torch.ones(4))
    torch.testing.assert_close(why.bars.sum(1), torch.ones(4))
    by_hand = forecast.output.encoder_variables[2, :, 0, 3].mean()
    torch.testing.assert_close(why.past["momentum"][2], by_hand)


def test_padding_has_no_share():
    network = make_network(**PARAMETERS)
    inputs = make_inputs(network, 3, 6, 2)
    lengths = torch.tensor([6, 4, 1])
    padded = replace(inputs, encoder_lengths=lengths)
    short = replace(
        inputs,
        encoder_cont=inputs.encoder_cont[1:2, :4],
        encoder_cat=inputs.encoder_cat[1:2, :4],
        decoder_cont=inputs.decoder_cont[1:2],
        decoder_cat=inputs.decoder_cat[1:2],
    )
    with torch.no_grad():
        why = explain(network(padded), network.configuration, encoder_lengths=lengths)
        alone = explain(network(short), network.configuration)

    torch.testing.assert_close(why.bars[1, 2:], alone.bars[0])
    assert why.bars[1, :2].tolist() == [0, 0]
    assert float(why.bars[2, 5]) == pytest.approx(1)
    torch.testing.assert_close(why.past["range"][1], alone.past["range"][0])
