"""Names of the files in a run's folder."""

RUN_JSON = "run.json"
PLAN = "frames.parquet"
INDEX = "index.parquet"
#: What to do about a damaged plan.
PLAN_REMEDY = "the job that made the run, called again, writes it anew"
