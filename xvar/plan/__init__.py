"""What a call solves, and the table of what comes out of it."""

from xvar.plan.base import Plan, Variable
from xvar.plan.experiment import plan_experiment
from xvar.plan.motion import plan_motion

__all__ = ["Plan", "Variable", "plan_experiment", "plan_motion"]
