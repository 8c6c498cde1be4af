"""What steps of a recipe take on a machine, as a measuring job writes it and the forecast of a sweep reads it."""

from moewright.line_records import LineRecord
from moewright.records import Count, Record


class StepTimes(Record):
    """Seconds of one recipe's steps."""

    first_seconds: float
    """Until the first step is done, from nothing."""
    step_seconds: float
    """Mean of the steps after it."""
    validation_share: float | None = None
    """Time of a validation token over a training token's; None: not measured."""


class MeasuredRecipe(LineRecord):
    """A line of a measuring job: which of its recipes, and what that took."""

    index: Count
    """Place in the list of recipes that the job was given."""
    times: StepTimes
