#!/usr/bin/env bash
# A team's store: MLflow over PostgreSQL, one grid from two process groups, one grid and one study by
# workers of two homes, as of two machines, after a third was killed. `make test-postgres`.
# Nothing becomes root unasked: INSTALL=1 installs the package; the server then runs unprivileged.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON_BIN:-.venv/bin/python}

find_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }
bin=$(find_bin)
if [[ -z $bin ]]; then
  if [[ "${INSTALL:-0}" != 1 ]]; then
    echo "PostgreSQL is not here. As root: apt-get install postgresql, or: make test-postgres INSTALL=1"
    exit 77
  fi
  [[ $(id -u) == 0 ]] || { echo "Expected root with INSTALL=1, got user $(id -un)."; exit 77; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null
  bin=$(find_bin)
fi
"$python" -c "import psycopg" || { echo "pip install 'fl_platform[postgres]'"; exit 77; }

work=$(mktemp -d /tmp/fl-postgres.XXXXXX)
chmod 755 "$work"
mkdir -p "$work"/{db,artifacts,home/tuning,elsewhere/tuning}
as=()
if [[ $(id -u) == 0 ]]; then
  chown postgres "$work/db"
  as=(runuser -u postgres --)
fi
free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port) web=$(free_port) page=$(free_port)
server= shown=
cleanup() {
  for group in $server $shown; do kill -- "-$group" 2>/dev/null; done
  "${as[@]}" "$bin/pg_ctl" -D "$work/db/data" -m immediate -w stop >/dev/null 2>&1 || true
  [[ "${KEEP:-0}" == 1 ]] || rm -rf "$work"
}
trap cleanup EXIT
(cd "$work/db" && "${as[@]}" "$bin/initdb" -D "$work/db/data" -U fl --auth=trust >/dev/null)
"${as[@]}" "$bin/pg_ctl" -D "$work/db/data" -w -l "$work/db/log" \
  -o "-h 127.0.0.1 -p $port -k $work/db" start >/dev/null
for database in mlflow studies; do
  "${as[@]}" "$bin/createdb" -h 127.0.0.1 -p "$port" -U fl "$database"
done
ask() { "${as[@]}" "$bin/psql" -h 127.0.0.1 -p "$port" -U fl -d studies -qtA -c "$1"; }

export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=1
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
setsid "$python" -m mlflow server --host 127.0.0.1 --port "$web" --workers 1 \
  --backend-store-uri "postgresql+psycopg://fl@127.0.0.1:$port/mlflow" \
  --artifacts-destination "$work/artifacts" > "$work/server.log" 2>&1 &
server=$!
fetch() { "$python" -c "import urllib.request as u; print(u.urlopen('$1', timeout=5).read().decode())" 2>/dev/null; }
up() { fetch "http://127.0.0.1:$web/health" >/dev/null; }
for _ in $(seq 90); do up && break; sleep 1; done
up || { tail "$work/server.log"; echo "The MLflow server did not come up."; exit 1; }

export MLFLOW_TRACKING_URI=http://127.0.0.1:$web MLFLOW_HTTP_REQUEST_TIMEOUT=60
ln -s "$PWD/conf" "$work/home/conf"
ln -s "$PWD/conf" "$work/elsewhere/conf"
grid=(-m fl_platform.cli grid task=digits rounds=2 task.clients=10 attack=none,lie,ipm
      defense=mean,median seed=0 --home "$work/home" --jobs 1 --no-report --json)
setsid "$python" "${grid[@]}" > "$work/a.json" 2> "$work/a.log" & a=$!
setsid "$python" "${grid[@]}" > "$work/b.json" 2> "$work/b.log" & b=$!
wait "$a" || { cat "$work/a.log"; exit 1; }
wait "$b" || { cat "$work/b.log"; exit 1; }
"$python" -m fl_platform.cli runs sync --home "$work/home"
"$python" - "$work" <<'PY'
import json, os, sys
from collections import Counter
from pathlib import Path

from mlflow.tracking.client import MlflowClient

work = Path(sys.argv[1])
told = [json.loads((work / f"{name}.json").read_text().splitlines()[-1]) for name in "ab"]
assert [(t["cells"], t["done"], t["failed"]) for t in told] == [(6, 6, 0)] * 2, told
starts = [p.read_text().count('"status":"RUNNING"') for p in work.glob("home/mlruns/runs/*/journal.jsonl")]
assert starts == [1] * 7, f"a cell was begun more than once: {starts}"
client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
runs = client.search_runs([client.get_experiment_by_name("grid").experiment_id])
parents = Counter(run.data.tags.get("mlflow.parentRunId", "none") for run in runs)
assert len(runs) == 7 and sorted(parents.values()) == [1, 6], parents
assert {run.info.status for run in runs} == {"FINISHED"}, [run.info.status for run in runs]
print("PostgreSQL: 6 cells and their parent from two process groups, none doubled: passed")
PY

# Workers of two homes that share the two servers only; the first is killed with a pushed checkpoint.
pull=(-m fl_platform.cli grid task=digits rounds=300 task.clients=10 attack=lie,ipm defense=mean
      seed=0,1 --worker --leases "postgresql://fl@127.0.0.1:$port/studies" --lease-seconds 4)
setsid "$python" "${pull[@]}" --home "$work/home" > "$work/e.log" 2>&1 & e=$!
until [[ $(ask "SELECT bool_or(archive <> '' AND starts = 0) FROM fl_leases" 2>/dev/null) == t ]]; do
  kill -0 "$e" || { cat "$work/e.log"; exit 1; }
  sleep 0.1
done
kill -KILL "$e" && wait "$e" || true
setsid "$python" "${pull[@]}" --home "$work/elsewhere" > "$work/f.log" 2>&1 || { cat "$work/f.log"; exit 1; }
setsid "$python" "${pull[@]}" --home "$work/home" > "$work/g.log" 2>&1 || { cat "$work/g.log"; exit 1; }
for home in elsewhere home; do "$python" -m fl_platform.cli runs sync --home "$work/$home"; done
"$python" - "$work" <<'PY'
import os, sys
from pathlib import Path

from mlflow.tracking.client import MlflowClient

work = Path(sys.argv[1])
client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
runs = client.search_runs([client.get_experiment_by_name("grid").experiment_id])
(parent,) = [run for run in runs if run.data.params.get("grid.cells") == "4"]
ours = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
assert len(ours) == 4, [run.data.tags for run in ours]
states = {run.info.run_name: run.info.status for run in (parent, *ours)}
assert set(states.values()) == {"FINISHED"}, states
for run in ours:
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "test/accuracy")]
    assert steps == list(range(1, 301)), steps
pieces = list((work / "artifacts" / "fl-platform-checkpoints").iterdir())
assert len(pieces) >= 4, pieces
print("PostgreSQL: 4 runs by workers of two homes after a third was killed, none doubled: passed")
PY

cat > "$work/home/tuning/shared.yaml" <<'YAML'
base: [attack=strike, defense=multi_krum, task=digits, task.clients=10, task.validation=0.2, rounds=5]
space: {attack.nu: {low: 0.1, high: 4.0}}
start: [{attack.nu: 1.0}]
direction: minimize
seeds: [0, 1]
sampler: {name: tpe, options: {n_startup_trials: 3}}
pruner: {name: none}
budget: {trials: 10}
final: {seeds: 2}
YAML
cp "$work/home/tuning/shared.yaml" "$work/elsewhere/tuning/"
storage=postgresql+psycopg://fl@127.0.0.1:$port/studies
worker() { exec setsid "$python" -m fl_platform.cli tune shared --home "$1" --storage "$storage"; }
begun() { ask "SELECT count(*) > 2 AND bool_or(state = 'RUNNING') FROM trials" 2>/dev/null || true; }
worker "$work/home" > "$work/killed.log" 2>&1 & killed=$!
until [[ $(begun) == t ]]; do
  kill -0 "$killed" || { cat "$work/killed.log"; exit 1; }
  sleep 0.1
done
kill -KILL "$killed" && wait "$killed" || true
# its signs of life are made old, so that nobody has to wait a minute for its silence
ask "UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '1 hour'"
ask "UPDATE trials SET datetime_start = datetime_start - interval '1 hour' WHERE state = 'RUNNING'"
worker "$work/home" > "$work/c.log" 2>&1 & c=$!
worker "$work/elsewhere" > "$work/d.log" 2>&1 & d=$!
wait "$c" || { cat "$work/c.log"; exit 1; }
wait "$d" || { cat "$work/d.log"; exit 1; }
setsid "$python" -m fl_platform.cli ui --studies --home "$work/home" --storage "$storage" \
  --port "$page" > "$work/page.log" 2>&1 & shown=$!
for _ in $(seq 60); do fetch "http://127.0.0.1:$page/api/studies" > "$work/studies.json" && break; sleep 1; done
"$python" - "$work" "$storage" <<'PY'
import json, os, sys
from collections import Counter
from pathlib import Path

import optuna
from mlflow.tracking.client import MlflowClient

work, storage = Path(sys.argv[1]), sys.argv[2]
study = optuna.load_study(study_name="shared", storage=storage)
trials = study.trials
states = Counter(trial.state.name for trial in trials)
ended = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
# workers that share no file system may begin one trial too many each
assert 10 <= len(ended) <= 11 and states["FAIL"] == 1 and len(trials) == len(ended) + 1, states
origins = [trial.system_attrs.get("failed_trial", trial.number) for trial in ended]
assert len(set(origins)) == len(origins), origins
for trial in trials:
    if trial.state.name == "FAIL":
        heirs = [t for t in ended if trial.number in t.system_attrs.get("retry_history", [])]
        assert len(heirs) == 1 and trial.params in ({}, heirs[0].params), (trial, heirs)
assert study.best_trial.state.name == "COMPLETE"
(look,) = study.user_attrs["final"]
assert look["params"] == study.best_params and all(len(s["test"]) == 2 for s in look["samples"]), look
client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
runs = client.search_runs([client.get_experiment_by_name("tuning").experiment_id], max_results=500)
parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
assert [run.info.run_name for run in parents] == ["study shared"], parents
served = {tag for run in runs for tag in run.data.tags.get("optuna.trial", "").split()}
assert {f"shared#{trial.number}" for trial in ended} <= served, served
whole = {run.data.tags["fl_run_id"] for run in runs if run.info.status == "FINISHED"}
named = {run for trial in ended if trial.state.name == "COMPLETE" for run in trial.user_attrs["runs"]}
assert named <= whole, named - whole
page = json.loads((work / "studies.json").read_text())
assert [it["study_name"] for it in page["study_summaries"]] == ["shared"], page
print(f"PostgreSQL: a study by workers of two homes after a third was killed, {dict(states)}: passed")
PY
