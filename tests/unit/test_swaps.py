"""A ranker that is swapped for another: the online half fitted on the new logits, and the old one kept."""

import numpy as np
import pytest

from infra.evaluation.as_served import AsServed
from infra.evaluation.course import Course
from infra.evaluation.rankers import Stint
from infra.evaluation.swaps import swaps
from infra.lockstep.loop import rows_of
from streams.events import DAY_MS, HEADS, Labels
from tests.build import make_example

DAYS, EACH = 7, 150  # rows of a day
START = 1_649_548_800_000  # midnight, UTC


@pytest.fixture(scope="module")
def course() -> Course:
    """Seven days whose labels follow one number."""
    random = np.random.default_rng(0)
    truth = random.normal(size=DAYS * EACH)
    liked = random.random(len(truth)) < 1 / (1 + np.exp(-1.5 * truth))
    step = DAY_MS // EACH
    rows = rows_of(
        [
            make_example(
                example_id=f"e{n}",
                user_id=f"u{n % 40}",
                item_id=f"i{n % 60}",
                ts_ms=START + n * step,
                features=(float(truth[n]),),
                labels=Labels(click=bool(liked[n]), long_view=bool(liked[n])),
            )
            for n in range(len(truth))
        ]
    )
    known = np.repeat(rows.ts_ms[:, None] + 1.0, len(HEADS), axis=1)
    return Course.of(AsServed("made", 600_000, rows, known, np.arange(len(truth))), "click")


def _stints(course: Course) -> tuple[Stint, ...]:
    """Rankers that know the truth: three that tell every chance too low, and one that tells it as it is."""
    truth, found = course.served.rows.features[:, 0], []
    for place, (start_ms, rows) in enumerate(course.days()):
        told = 1.5 * truth - (2.5 if place < 3 else 0.0)
        logits = np.repeat(told[:, None], len(HEADS), axis=1).astype(np.float32)
        found.append(Stint(start_ms, 1, rows, logits))
    return tuple(found[:4])


def test_calibration_and_auc_do_not_dip_where_the_online_half_is_fitted_anew(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.evaluation.swaps.AROUND", 100)
    anew, kept, alone = swaps(course, _stints(course))
    print(anew, kept, alone, sep="\n")
    assert anew.swaps == 1
    order_lost = (alone.auc_after - anew.auc_after) - (alone.auc_before - anew.auc_before)
    assert order_lost < 0.01  # beside a ranker that orders as well as these rows can be ordered
    assert anew.calibration_after < anew.calibration_before + 0.02
    assert kept.calibration_after > kept.calibration_before + 0.05  # the naive swap: it dips
    assert kept.log_loss_after > anew.log_loss_after + 0.05
    assert alone.calibration_before > 2 * anew.calibration_before


def test_a_course_without_a_swap_tells_nothing(course: Course) -> None:
    assert swaps(course, _stints(course)[:1]) == ()
