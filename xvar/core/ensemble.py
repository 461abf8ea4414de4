"""Ensembles of assimilations: members with perturbed background, model error and observations, or by a transform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from xvar.core.control import Block, ControlSpace
from xvar.core.cost import Cost
from xvar.core.covariance.composite import Ensemble as EnsembleError
from xvar.core.covariance.homogeneous import Matern
from xvar.core.covariance.matrix import Uniform
from xvar.core.dynamics import Forcing, State, trajectory
from xvar.core.grid import Grid, bind
from xvar.core.linear_maps import inverse_square_root, truncated_conjugate_gradients
from xvar.core.linearisation import Linearisation
from xvar.core.minimize import LBFGS
from xvar.core.problem import Problem
from xvar.core.solve import Analysis, solve
from xvar.errors import Faults

Update = Literal["perturbed", "transform"]
UPDATES: tuple[Update, ...] = ("perturbed", "transform")

#: Smoothness of the taper of a localisation that is a length: nearly Gaussian.
TAPER = 8
#: Products of the Hessian with each member, at most, and the change at which they end.
PRODUCTS, CHANGE = 60, 1e-5
#: Variance, over the mean variance of B, that is added to B where it is inverted: an ensemble alone has no full rank.
NUGGET = 1e-6


@dataclass(frozen=True, eq=False)
class Ensemble:
    r"""Ensemble of assimilations: the error of each analysis, and in cycled windows B of the next one.

    .. math::

        x_a^k = x_a + \lambda\,(\delta_k - \bar\delta), \qquad
        B = w\, C \circ \frac{1}{N - 1} \sum_k (x_b^k - \bar x_b)(x_b^k - \bar x_b)^T + (1 - w)\, B_s

    The analysis :math:`x_a` is that of 4D-Var with this B, unperturbed; the members are centred on it, and the model
    brings them to the next window, where :math:`x_b^k` are their states. :math:`B_s` is `background_error` as it is
    stated; in the first window it is B, and members are drawn from it. Windows that are not cycled all are first ones.

    Parameters
    ----------
    members : int
        N, two or more.
    inflation : float
        :math:`\lambda`, the factor of the deviations of the analysis.
    localisation : float or specification, optional
        C: `xvar.covariance.Matern` of unit standard deviation, or its length (of a smoothness of 8, nearly Gaussian) in
        metres or the units of the axis; `xvar.covariance.GaspariCohn` for distances along great circles. Default: none,
        all correlations of the sample count; right if the members are more than the directions in which errors grow.
    weight : float
        w, the share of the ensemble in B.
    update : {"perturbed", "transform"}
        ``"perturbed"``: each member minimises its own J, with its own background and model error, and observations with
        noise drawn from R [1]_. ``"transform"``: :math:`\delta_k = B^{1/2} (I + B^{T/2} G^T R^{-1} G B^{1/2})^{-1/2}
        B^{-1/2} (x_b^k - \bar x_b)` with the tangent linear G at the analysis, without random numbers: the iterative
        ensemble Kalman smoother if there is no localisation and w = 1 [2]_.
    seed : int
        Of the random numbers; those of a window depend on it and on the date of the window alone.

    Raises
    ------
    InputError
        If a number is out of range.

    Notes
    -----
    The ensemble gives correlations between variables of one component of the state; components are independent in B.

    References
    ----------
    .. [1] Isaksen, L. et al. (2010), Ensemble of data assimilations at ECMWF, ECMWF Technical Memorandum 636.
    .. [2] Bocquet, M., Sakov, P. (2014) An iterative ensemble Kalman smoother, doi:10.1002/qj.2236.
    """

    members: int = 20
    inflation: float = 1.0
    localisation: Any = None
    weight: float = 1.0
    update: Update = "perturbed"
    seed: int = 0

    def __post_init__(self) -> None:
        """Reject numbers out of range."""
        faults = Faults()
        faults.check_choice("update", self.update, UPDATES, "perturbed")
        faults.check_numbers(self, {"inflation": 1.02})
        whole = isinstance(self.members, int) and not isinstance(self.members, bool)
        length = self.localisation
        for name, right, expected, fix in (
            ("members", whole and self.members >= 2, "a whole number from 2 up", "members=20"),
            ("weight", 0 < self.weight <= 1, "a share above 0 and up to 1", "weight=0.9"),
            ("localisation", length is None or hasattr(length, "bind") or length > 0, "a length", "localisation=200e3"),
        ):
            if not right:
                found = f"{name}={getattr(self, name)!r} of an ensemble"
                faults.add(code="ensemble-of-assimilations", variable=name, found=found, expected=expected, fix=fix)
        faults.raise_if_any()

    def background_error(self, static: Mapping[str, Any], deviations: State) -> dict[str, Any]:
        """Return B of each component, from deviations of members (member, component, *grid) where there are any."""
        taper: Any = Uniform() if self.localisation is None else self.localisation
        if not hasattr(taper, "bind"):
            taper = Matern(1.0, float(taper), TAPER)

        def hybrid(key: str, part: Any) -> Any:
            return EnsembleError(deviations[key], taper, part if self.weight < 1 else None, self.weight)

        return {key: hybrid(key, part) if key in deviations else part for key, part in static.items()}


@dataclass(frozen=True)
class Members:
    """Analysis of a window, and the members that are centred on it."""

    analysis: Analysis
    trajectory: list[State]  # of the members, (member, component, *grid) at every step
    forcing: Forcing  # likewise

    def at(self, step: int) -> State:
        """Return the members after a step."""
        return self.trajectory[step]


def assimilate_members(
    problem: Problem, ensemble: Ensemble, deviations: State, minimizer: LBFGS, generator: torch.Generator
) -> Members:
    """Analyse the one window of a problem, and its members.

    `deviations` (member, component, *grid) are those of the background from the mean of the members; those of
    components without any are drawn from their B.
    """
    count, space = ensemble.members, ControlSpace(problem)
    drawn = {
        block.name: _centred(block.covariance.sample((count, *problem.background[block.name].shape[1:]), generator))
        for block in space.blocks
        if not block.steps and block.name not in deviations
    }
    deviations = {**drawn, **{key: part for key, part in deviations.items() if key in problem.background_error}}
    noise = _forcing_noise(space, count, problem.like, generator)
    update = _perturbed if ensemble.update == "perturbed" else _transformed
    analysis, initial, forcing = update(problem, space, deviations, noise, minimizer, generator)
    first = analysis.trajectory[0]
    start = {key: first[key] + ensemble.inflation * _centred(values) for key, values in initial.items()}
    begin = {key: start.get(key, values.expand(count, *values.shape[1:])) for key, values in problem.background.items()}
    moved = {
        step: {key: analysis.forcing[step][key] + ensemble.inflation * _centred(part) for key, part in parts.items()}
        for step, parts in forcing.items()
    }
    return Members(analysis, trajectory(analysis.cost.dynamics, begin, problem.steps, forcing=moved), moved)


def _perturbed(
    problem: Problem,
    space: ControlSpace,
    deviations: State,
    noise: Tensor,
    minimizer: LBFGS,
    generator: torch.Generator,
) -> tuple[Analysis, State, Forcing]:
    """Minimise J of the window and of all members at once; the window is the first of the batch."""
    count = len(noise)
    batch = problem.select(torch.zeros(count + 1, dtype=torch.int64))
    background = {
        key: torch.cat([values[:1], values[1:] + deviations[key]]) if key in deviations else values
        for key, values in batch.background.items()
    }
    observations = tuple(_with_noise(one, count, generator) for one in batch.observations)
    prior = torch.cat([noise.new_zeros(1, space.size), noise])
    result = solve(replace(batch, background=background, observations=observations, prior=prior), minimizer)
    own, others = torch.tensor([0]), torch.arange(1, count + 1)
    forcing = {step: {key: part[others] for key, part in parts.items()} for step, parts in result.forcing.items()}
    initial = {key: result.trajectory[0][key][others] for key in deviations}
    return result.select(own), initial, forcing


def _with_noise(observation: Any, count: int, generator: torch.Generator) -> Any:
    """Return observations of a window and of members, with noise of their error in the latter."""
    shape = (count, *observation.values.shape[1:])
    if observation.covariance is not None:
        noise = (
            observation.covariance.select(torch.zeros(count, dtype=torch.int64))
            .sample(shape, generator)
            .to(observation.values)
        )
    else:
        drawn = torch.randn(shape, generator=generator, dtype=observation.values.dtype)
        noise = observation.std * drawn.to(observation.values.device)
    perturbed = observation.values[1:] + _centred(noise)
    return replace(observation, values=torch.cat([observation.values[:1], perturbed]))


def _transformed(
    problem: Problem,
    space: ControlSpace,
    deviations: State,
    noise: Tensor,
    minimizer: LBFGS,
    generator: torch.Generator,  # noqa: ARG001 -- as of `_perturbed`
) -> tuple[Analysis, State, Forcing]:
    """Minimise J of the window, and transform the members by the root of the inverse Hessian there."""
    count, analysis = len(noise), solve(problem, minimizer)
    batch = Cost(problem.select(torch.zeros(count, dtype=torch.int64)))
    quadratic = Linearisation(batch, analysis.minimum.control.expand(count, -1).clone(), exact=True)
    control = noise.clone()
    for block in space.blocks:
        if not block.steps:
            control[:, block.begin : block.end] = _preimage(block, deviations[block.name]).flatten(1)
    fields = batch.space.fields(inverse_square_root(quadratic.product, control, PRODUCTS, CHANGE))
    return analysis, batch.space.increment(fields), batch.space.forcing(fields)


def _preimage(block: Block, deviations: Tensor) -> Tensor:
    r"""Return the smallest controls of deviations, :math:`B^{T/2} (B + \epsilon I)^{-1} \delta`."""
    covariance = block.covariance
    probe = covariance.apply(deviations)
    # Rayleigh quotient of B at the deviations, which is of the size of its largest eigenvalues.
    nugget = NUGGET * float((probe * deviations).sum() / deviations.square().sum().clamp_min(1e-300))

    def product(field: Tensor) -> Tensor:
        return covariance.apply(field) + nugget * field

    solution, _ = truncated_conjugate_gradients(product, deviations, lambda field: field, 1e-12, 500)
    return covariance.sqrt_transpose(solution)


def _forcing_noise(space: ControlSpace, count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return controls (member, n) that hold white noise in the blocks of the model error, centred."""
    noise = like.new_zeros(count, space.size)
    for block in space.blocks:
        if block.steps:
            size = (count, block.end - block.begin)
            white = torch.randn(size, generator=generator, dtype=like.dtype).to(like.device)
            noise[:, block.begin : block.end] = _centred(white)
    return noise


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(0)


def errors_of_members(fields: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Return ``<name>_std`` (1, ...) of fields of members (member, ...), and if they are kept ``<name>_samples``."""
    std = {f"{name}_std": values.std(0, correction=1, keepdim=True) for name, values in fields.items()}
    return std | ({f"{name}_samples": values[None] for name, values in fields.items()} if keep else {})


def grown_members(
    members: State, model_error: Mapping[str, Any], seconds: float, grid: Grid, generator: torch.Generator
) -> State:
    """Return deviations of members with model error of some seconds, Q per second, drawn for each."""
    moved = dict(members)
    for key, specification in model_error.items():
        values = members[key]
        drawn = bind(specification, grid, values).sample(tuple(values.shape), generator)
        moved[key] = values + seconds**0.5 * _centred(drawn)
    return moved


def split_members(states: State) -> tuple[State, State]:
    """Return the state of a window (1, ...) and deviations of members from their mean, of states that begin with it."""
    own = {key: values[:1] for key, values in states.items()}
    return own, {key: _centred(values[1:]) for key, values in states.items()}
