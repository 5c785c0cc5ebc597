"""What is ordered: the create, the machines, the note, and what is refused before anything is sent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.core.clock import ManualClock
from ftorch.core.errors import RunRejectedError
from ftorch.core.money import Money
from ftorch.costs.book.listed import price_book
from ftorch.manifest.plan import Plan
from ftorch.manifest.prices import OwnPrice
from ftorch.manifest.schema import BaseModelRef, Resources
from ftorch.providers.anyscale import machines, orders
from ftorch.providers.anyscale.orders import Note
from ftorch.providers.anyscale.provider import AnyscaleProvider
from ftorch.providers.base import Placement, RunOrder, RunRef, Staged
from unit.plans import plan

KEY = "ft-bench1-01m853egkdvypddzfanrkc5c05"
EARLIER = "ft-bench1-01m853egkdvypddzfanrkc5c04"
URI = "s3://bucket/ftorch"


def job(options: dict[str, Any] | None = None, **changes: Any) -> Plan:
    asked = {"output_uri": URI, **(options or {})}
    return plan(**{"providers": ("anyscale",), "options": {"anyscale": asked}, **changes})


def order(one: Plan, placement: Placement | None = None, **changes: Any) -> RunOrder:
    detail = {"working_dir": "s3://pkg", "cloud": "cld", "project": "prj", "build": "bld", "output_uri": URI}
    values = {
        "key": KEY,
        "plan": one,
        "staged": Staged(ready=True, bundle_sha256="b" * 64, detail=detail),
        "placement": placement or machines.placements(one)[0],
        "send_before": ManualClock().now(),
        "max_duration_s": None,
    }
    return RunOrder(**{**values, **changes})


def test_a_create_is_never_retried_by_anyscale_and_ends_in_time() -> None:
    body = orders.create_body(order(job(), max_duration_s=3600), "cpt")

    assert body["config"]["max_retries"] == 0
    assert body["config"]["timeout_s"] == 3600 + 600


@pytest.mark.parametrize("workers", [1, 2])
def test_one_worker_and_several_go_on_from_an_earlier_run(workers: int) -> None:
    earlier = RunRef("anyscale", "org", EARLIER, "prodjob_1")
    one = job(resources=Resources(gpu=("L4",), workers=workers))

    body = orders.create_body(order(one, resume_from=earlier), "cpt")

    assert body["config"]["runtime_env"]["env_vars"]["FTORCH_RESUME_FROM"] == EARLIER


def test_a_run_without_an_end_has_no_time_out() -> None:
    assert "timeout_s" not in orders.create_body(order(job()), "cpt")["config"]


def test_a_create_is_marked_with_run_installation_and_plan() -> None:
    one = job()

    body = orders.create_body(order(one), "cpt")

    assert body["name"] == KEY
    assert body["tags"] == {
        "ftorch_job": KEY,
        "ftorch_installation": "bench1",
        "ftorch_manifest_sha": one.hash[:16],
    }


def test_a_create_says_nothing_of_this_machine() -> None:
    body = orders.create_body(order(job()), "cpt")

    assert "user_provided_working_dir" not in body["config"]["runtime_env"]
    assert body["config"]["runtime_env"]["working_dir"] == "s3://pkg"


def test_packages_are_installed_where_no_image_brings_them() -> None:
    env = orders.create_body(order(job()), "cpt")["config"]["runtime_env"]

    assert any(line.startswith("trl") for line in env["pip"])
    assert "s3fs" in env["pip"]


def test_an_image_of_ones_own_is_taken_as_it_is() -> None:
    body = orders.create_body(order(job({"image_uri": "docker.io/me/train:1"})), "cpt")

    assert "pip" not in body["config"]["runtime_env"]


def test_packages_are_installed_into_an_image_that_lacks_them() -> None:
    options = {"image_uri": "docker.io/me/train:1", "install": True}

    assert "pip" in orders.create_body(order(job(options)), "cpt")["config"]["runtime_env"]


rates = st.one_of(st.none(), st.decimals(0, 1000, places=6).map(abs))
texts = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=20)


@given(machine=texts, rate=rates, bucket=texts, is_hosted=st.sampled_from([True, False, None]))
def test_what_is_noted_with_a_job_is_read_back(
    machine: str, rate: Decimal | None, bucket: str, is_hosted: bool | None
) -> None:
    note = Note(f"2 x {machine}", rate, f"s3://{bucket}/ftorch", is_hosted)

    assert Note.parse(note.text) == note


@pytest.mark.parametrize("text", [None, "", "the nightly run", "ftorch: x at 1.00 USD per hour"])
def test_a_description_that_somebody_else_wrote_is_no_note(text: str | None) -> None:
    assert Note.parse(text) is None


@pytest.mark.parametrize("uri", [None, "", "/"])
def test_a_plan_without_a_place_for_the_adapter_is_refused(uri: str | None) -> None:
    options = {} if uri is None else {"output_uri": uri}

    with pytest.raises(RunRejectedError, match="output_uri is missing") as caught:
        AnyscaleProvider.listed(plan(providers=("anyscale",), options={"anyscale": options}))

    assert "s3://BUCKET" in (caught.value.hint or "")


def test_a_base_model_whose_weights_are_here_alone_is_refused() -> None:
    with pytest.raises(RunRejectedError, match="no weights of builtin:smollm2-135m"):
        orders.check(job(base_model=BaseModelRef(id="builtin:smollm2-135m")))


def test_a_key_for_tracking_is_refused_since_everybody_would_see_it() -> None:
    with pytest.raises(RunRejectedError, match="WANDB_API_KEY"):
        orders.check(job(secrets={"WANDB_API_KEY": "env:WANDB_API_KEY"}))


# machines


def test_gpus_come_cheapest_first_at_the_price_of_the_book() -> None:
    listed = {price.name: price.rate for price in price_book({}).of("anyscale")}

    found = machines.placements(job())

    assert [place.name for place in found] == sorted(listed, key=lambda name: listed[name])
    assert {place.name: place.rate for place in found} == listed


def test_the_users_price_of_a_gpu_counts() -> None:
    mine = OwnPrice(price=Money.parse("0.70 USD"), unit="hour", source="contract", date=ManualClock().now().date())

    found = machines.placements(job(own_prices={"anyscale": {"L4": mine}}))

    assert {place.name: place.rate for place in found}["L4"] == Decimal("0.70")


@pytest.mark.parametrize(("asked", "found"), [(("L4",), ["L4"]), (("A10",), ["A10G"]), (("A100-80GB",), ["A100"])])
def test_a_gpu_is_found_by_every_name_of_it(asked: tuple[str, ...], found: list[str]) -> None:
    assert [place.name for place in machines.placements(job(resources=Resources(gpu=asked)))] == found


def test_a_gpu_that_nobody_has_a_price_for_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(RunRejectedError, match="no GPU 'B200' with a price; it has T4, L4") as caught:
        machines.placements(job(resources=Resources(gpu=("B200",))))

    assert '[prices.anyscale."B200"]' in (caught.value.hint or "")


def test_a_training_that_fits_no_gpu_is_refused() -> None:
    with pytest.raises(RunRejectedError, match="more than any at anyscale has"):
        machines.placements(job(parameters=400_000_000_000))


def test_one_worker_is_the_head_and_nothing_else() -> None:
    [place] = machines.placements(job(resources=Resources(gpu=("T4",))))

    config = machines.cluster(place, "cld", None)

    assert config["worker_node_types"] == []
    assert config["head_node_type"]["required_resources"] == {
        "cpu": 8,
        "gpu": 1,
        "memory": 24 << 30,
        "accelerator": "T4",
    }


def test_several_workers_have_a_machine_each_beside_a_head_that_does_no_work() -> None:
    [place] = machines.placements(job(resources=Resources(gpu=("L4",), workers=3)))

    config = machines.cluster(place, "cld", "m5.2xlarge")

    [group] = config["worker_node_types"]
    assert (group["min_workers"], group["max_workers"]) == (3, 3)
    assert group["required_resources"]["accelerator"] == "L4"
    assert config["head_node_type"]["resources"] == {"cpu": 0, "gpu": 0}


def test_several_workers_cost_as_many_machines_and_the_head() -> None:
    [one] = machines.placements(job(resources=Resources(gpu=("L4",))))
    [three] = machines.placements(job(resources=Resources(gpu=("L4",), workers=3)))

    assert one.rate is not None
    assert three.rate == 3 * one.rate + Decimal("0.1080")
    assert (one.gpus, three.gpus) == (1, 3)


def test_a_machine_that_the_user_names_is_taken_by_its_name() -> None:
    [place] = machines.placements(job({"instance_type": "g6.2xlarge"}, resources=Resources(gpu=("L4",))))

    assert machines.cluster(place, "cld", None)["head_node_type"]["instance_type"] == "g6.2xlarge"


@pytest.mark.parametrize("option", ["instance_type", "compute_config"])
def test_machines_that_the_user_names_need_the_gpu_in_them_for_their_price(option: str) -> None:
    with pytest.raises(RunRejectedError, match=f"provider.anyscale.{option} names the machines"):
        machines.placements(job({option: "x"}, resources=Resources(gpu=("L4", "T4"))))


@pytest.mark.parametrize("named", ["mine:v2", "mine:", "mine:0", "mine:-1", "mine:2:3", ":2", "mine: 2", "mine:²"])
def test_a_compute_config_that_anyscale_could_not_read_is_refused_before_anything_is_spent(named: str) -> None:
    with pytest.raises(RunRejectedError, match=r"provider\.anyscale\.compute_config") as caught:
        orders.check(job({"compute_config": named}, resources=Resources(gpu=("L4",))))

    assert repr(named) in caught.value.message
    assert "machines:2" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("named", "means"),
    [("mine", ("mine", -1)), ("mine:1", ("mine", 1)), ("my machines:12", ("my machines", 12))],
)
def test_a_compute_config_is_a_name_with_or_without_the_number_of_a_version(named: str, means: tuple[str, int]) -> None:
    orders.check(job({"compute_config": named}, resources=Resources(gpu=("L4",))))

    assert machines.named_config(named) == means


def test_a_larger_base_model_asks_for_more_memory() -> None:
    small, large = job(), job(parameters=30_000_000_000)

    assert (machines.memory_gib(small), machines.memory_gib(large)) == (24, 76)
