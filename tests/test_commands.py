"""The commands as a user meets them: through the installed script, with their exit codes and messages."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sasa_tutorial.experiments import planned_runs
from sasa_tutorial.lessons import PROFILE_NAMES
from sasa_tutorial.training import train
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.records import all_records
from tests.conftest import script

STEPS = 70  # an epoch has 50
SHORT = ("train", "convolution", "--profile", "smoke", "--steps", str(STEPS))


def local_records(tmp_path: Path) -> list[dict]:
    path = tmp_path / "build" / "runs" / "records.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_help_names_every_command(command):
    result = command("--help")
    assert result.returncode == 0
    for name in ("run", "train", "results", "data"):
        assert re.search(rf"^  {name}  ", result.stdout, re.M)
        assert command(name, "--help").returncode == 0
    said = " ".join(command("train", "--help").stdout.split())
    assert f"{', '.join(PROFILES)}, or auto: $SASA_PROFILE" in said


def test_help_names_every_profile_and_does_not_wait_for_torch(command):
    assert tuple(PROFILES) == PROFILE_NAMES
    for name in ("run", "train", "weights"):
        assert ", ".join(PROFILES) in " ".join(command(name, "--help").stdout.split())
    code = "import sys; from sasa_tutorial.cli import cli; cli(['train', '--help'], standalone_mode=False)"
    code += "; sys.exit(str({'torch', 'scipy', 'matplotlib', 'papermill'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == "set()"


def test_training_prints_an_epoch_a_line_and_leaves_one_record(said, tmp_path):
    result = said("train", "convolution", "--profile", "smoke", "--steps", "6", "--seed", "4")
    assert result.returncode == 0, result.stderr
    assert re.search(r"^epoch   1/1   train loss \d\.\d{3} .* val loss .* \|grad\| ", result.stdout, re.M)
    (record,) = local_records(tmp_path)
    assert (record["model"], record["profile"], record["seed"]) == ("convolution", "smoke", 4)
    assert record["status"] == "finished" and record["dataset"] == "synthetic"
    assert record["params"] == 153_132 and record["torch"] == torch.__version__
    assert 0 <= record["test_top1"] <= record["test_top5"] <= 100
    (folder,) = (tmp_path / "build" / "runs").glob("convolution-smoke-seed4-*")
    assert [file.suffix for file in sorted(folder.iterdir())] == [".pt", "", ".safetensors"]
    assert next(folder.glob("*.pt")).name.startswith("finished-")

    again = said("train", "convolution", "--profile", "smoke", "--steps", "6", "--seed", "4", "--resume")
    assert "trained before, on " in again.stdout and again.stdout.splitlines()[-1] == result.stdout.splitlines()[-1]
    assert local_records(tmp_path) == [record], "a run is recorded once"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "convolutions"), "no network is called 'convolutions'; there are: convolution, global_attention"),
        (("train", "convolution", "--profile", "huge"), f"profile must be auto, {', '.join(PROFILES)}, got 'huge'"),
        (("train", "convolution", "--device", "tpu"), "device must be auto, cpu, cuda, cuda:N or mps, got 'tpu'"),
        (("run", "--only", "99"), "no notebook '99'; there are 00_start_here"),
    ],
)
def test_a_wrong_name_is_one_clear_sentence(said, arguments, message):
    result = said(*arguments)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ") and message in result.stderr
    assert "Traceback" not in result.stderr


def test_usage_errors_exit_2(said):
    assert said("train").returncode == 2
    assert said("train", "convolution", "--missing").returncode == 2
    assert said("train", "convolution", "--epochs", "0").returncode == 2
    assert said("walk").returncode == 2


def test_the_profile_variable_is_named_when_it_is_wrong(said):
    result = said("train", "convolution", SASA_PROFILE="huge")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "got 'huge' (from the variable SASA_PROFILE)" in result.stderr


def test_without_the_data_the_command_that_gets_it_is_named(said, tmp_path):
    result = said("train", "convolution", "--profile", "laptop", SASA_DATA=str(tmp_path))
    assert result.returncode == 1
    assert str(tmp_path) in result.stderr and "sasa-tutorial data download" in result.stderr
    assert "Traceback" not in result.stderr
    checked = said("data", "check", SASA_DATA=str(tmp_path))
    assert checked.returncode == 1 and checked.stdout.count("cifar-100-python") == 3


def test_results_and_missing_runs_are_listed(said):
    assert said("results").returncode == 0
    assert said("results", "--markdown").returncode == 0
    study = said("results", "--study", "tried")
    assert study.returncode == 0 and study.stdout.startswith("Under which recipe does attention learn")
    assert re.search(r"^relative offsets: float32 +38.4 +\+2.20 ", study.stdout, re.M)
    assert "| relative offsets: float32 | 38.4 |" in said("results", "--study", "tried", "--markdown").stdout
    assert "no study is called 'extend'" in said("results", "--study", "extend").stderr
    *listed, total = said("results", "--missing", "--profile", "gpu").stdout.splitlines()
    known = all_records()
    lacking = [plan for plan in planned_runs("gpu") if not any(plan.matches(record) for record in known)]
    assert listed == [str(plan) for plan in lacking] and total.endswith(f" {len(lacking)}")


def start_training(tmp_path: Path, seed: int, *extra: str, every: float = 0.3) -> subprocess.Popen[str]:
    """The command in a process of its own, saving far more often than every minute."""
    code = (
        "import sys; import sasa_tutorial.training.loop as loop; "
        f"loop.SECONDS_BETWEEN_CHECKPOINTS = {every}; "
        "from sasa_tutorial.cli import main; sys.argv[0] = 'sasa-tutorial'; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *SHORT, "--seed", str(seed), *extra],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SASA_BUILD": str(tmp_path / "build")},
    )


def wait_for_checkpoint(tmp_path: Path, process: subprocess.Popen[str], seconds: float = 100) -> None:
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        if list((tmp_path / "build" / "runs").glob("*/checkpoint.pt")):
            return
        time.sleep(0.05)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("SASA_BUILD", str(folder / "build"))
        train("convolution", profile="smoke", seed=7, steps=STEPS, say=lambda line: None)
    return local_records(folder)[0]


def test_ctrl_c_saves_and_resuming_ends_with_the_same_numbers(said, tmp_path, uninterrupted):
    process = start_training(tmp_path, 7)
    wait_for_checkpoint(tmp_path, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "stopped by Ctrl-C at step" in errors and "go on with --resume" in errors and "Traceback" not in errors

    refused = said(*SHORT, "--seed", "7")
    assert "holds an unfinished run" in refused.stderr and refused.returncode == 1

    resumed = said(*SHORT, "--seed", "7", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "going on after step" in resumed.stdout
    same_numbers(local_records(tmp_path), uninterrupted)


def test_killed_at_random_moments_it_ends_with_the_same_numbers(said, tmp_path, uninterrupted):
    chance = random.Random(0)
    for _ in range(3):
        process = start_training(tmp_path, 7, "--resume", every=0.1)
        wait_for_checkpoint(tmp_path, process)
        time.sleep(chance.uniform(0, 2))
        process.kill()
        process.communicate(timeout=100)
        assert len(local_records(tmp_path)) <= 1
    last = said(*SHORT, "--seed", "7", "--resume")
    assert last.returncode == 0, last.stderr
    records = local_records(tmp_path)
    assert len(records) >= 1
    same_numbers(records[:1], uninterrupted)


def same_numbers(records: list[dict], expected: dict) -> None:
    (record,) = records
    for field in ("val_top1", "test_top1", "test_top5", "params", "config"):
        assert record[field] == expected[field], field


def test_one_run_is_trained_by_one_process_at_a_time(said, tmp_path):
    first = start_training(tmp_path, 8, "--steps", "5000")  # far longer than a process takes to begin
    wait_for_checkpoint(tmp_path, first)
    second = said(*SHORT, "--seed", "8", "--steps", "5000", "--resume")
    first.kill()
    first.communicate(timeout=100)
    assert second.returncode == 1 and "another process is training in" in second.stderr


def test_missing_stops_in_time_and_goes_on(said):
    result = said("train", "--missing", "--profile", "smoke", "--minutes", "0.02")
    assert result.returncode == 0, result.stderr
    assert f"planned runs of profile smoke without a record: {len(planned_runs('smoke'))}" in result.stdout
    assert "its time was up" in result.stdout and "time is up; planned runs" in result.stdout
    again = said("train", "--missing", "--profile", "smoke", "--minutes", "0.02")
    assert "going on after step" in again.stdout


def test_two_processes_get_the_loss_of_one(tmp_path, said):
    """Same global batch, gradients averaged, norms over the whole batch: the numbers of one process, up to rounding.

    Three steps: enough for a wrong gradient or a norm over half a batch to show in the losses (at the first step
    already), too few for the network to amplify the rounding.
    """
    arguments = ("train", "convolution", "--profile", "smoke", "--steps", "3")
    alone = said(*arguments)
    assert alone.returncode == 0, alone.stderr
    torchrun = str(Path(script()).parent / "torchrun")
    together = subprocess.run(
        [torchrun, "--nproc-per-node=2", f"--master-port={free_port()}", "-m", "sasa_tutorial", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "SASA_BUILD": str(tmp_path / "two")},
    )
    assert together.returncode == 0, together.stderr
    one, two = (printed_losses(result.stdout) for result in (alone, together))
    assert one == pytest.approx(two, abs=1.5e-3)  # printed with three decimals
    (record,) = [json.loads(line) for line in (tmp_path / "two" / "runs" / "records.jsonl").read_text().splitlines()]
    assert record["device"].endswith(" x 2")


def printed_losses(output: str) -> list[float]:
    (line,) = re.findall(r"^epoch .*$", output, re.M)
    return [float(re.search(rf"{name} ([\d.]+)", line)[1]) for name in ("train loss", "val loss")]


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
