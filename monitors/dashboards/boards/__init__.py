"""The dashboards. Queries read the series of `infra/prometheus/rules` where there is one."""

from monitors.dashboards.boards.business import BUSINESS
from monitors.dashboards.boards.drift import DRIFT
from monitors.dashboards.boards.experiments import EXPERIMENTS
from monitors.dashboards.boards.features import FEATURES
from monitors.dashboards.boards.models import MODELS
from monitors.dashboards.boards.serving import SERVING
from monitors.dashboards.boards.traffic import TRAFFIC

__all__ = ["BOARDS"]

BOARDS = (TRAFFIC, BUSINESS, DRIFT, MODELS, SERVING, EXPERIMENTS, FEATURES)
