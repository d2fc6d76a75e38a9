"""What a user's slate is made by: the settings, as changed by the arms that the user is in."""

from collections.abc import Sequence

import msgspec

from models.serving.aim import Aim
from models.serving.experiments import Experiment, changed_settings, varied
from models.serving.slates.pool import rules_of
from models.serving.slates.rules import Rules
from streams.settings import Settings

__all__ = ["Plan", "Plans"]


class Plan(msgspec.Struct, frozen=True, eq=False):
    """Settings, what follows from them once and for all, and the arms (by layer) that made them so.

    `model` is the version that an arm asks for, None for the champion.
    """

    settings: Settings
    rules: Rules
    aims: dict[tuple[str, bool], Aim]  # by surface, "" any that has none of its own; and if a query asks
    arms: dict[str, str]
    model: str | None = None

    def aim(self, surface: str, query: str | None = None) -> Aim:
        """What this surface asks for, or a query on it."""
        searching = bool(query)
        return self.aims.get((surface, searching)) or self.aims["", searching]


class Plans:
    """A plan for every user; users in the same arms share one.

    Raises:
        OperatorError: the settings cannot be made into rules.
    """

    def __init__(self, settings: Settings, experiments: Sequence[Experiment] = ()) -> None:
        self._settings = settings
        self._experiments = experiments
        self._made: dict[tuple[tuple[str, str], ...], Plan] = {}
        self._usual = self._plan(())

    @property
    def models(self) -> frozenset[str]:
        """Versions that arms ask for."""
        arms = (arm for each in self._experiments for arm in each.arms.values())
        return frozenset(arm.model for arm in arms if arm.model is not None)

    def of(self, user_id: str) -> Plan:
        """The user's plan."""
        if not self._experiments:
            return self._usual
        found = varied(self._experiments, user_id)
        names = tuple((each.name, arm) for each, arm in found)
        plan = self._made.get(names)
        if plan is None:
            plan = self._made[names] = self._plan(found)
        return plan

    def _plan(self, found: Sequence[tuple[Experiment, str]]) -> Plan:
        settings, model = self._settings, None
        for experiment, name in found:
            arm = experiment.arms[name]
            settings = changed_settings(settings, arm.settings)
            model = arm.model or model
        return Plan(
            settings=settings,
            rules=rules_of(settings),
            aims={
                (name, searching): Aim.of(settings, name, searching)
                for name in (*settings.surfaces, "")
                for searching in (False, True)
            },
            arms={experiment.layer: f"{experiment.name}/{name}" for experiment, name in found},
            model=model,
        )
