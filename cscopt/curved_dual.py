"""The dual bound for a penalty with a quadratic part, ½⟨x, Q x⟩ beside Σ Λ|x|: the quadratic is data that are zero."""

from __future__ import annotations

from cscopt.backend import Array, is_complex, namespace, per_item, real_dtype
from cscopt.problem import CSCProblem


def curved_dual(problem: CSCProblem, codes: Array, point: Array) -> Array:
    r"""A lower bound of the optimum of each item, (batch,), in float64.

    With θ = s r and θ₂ for the data 0 of Q^½ x: |DᴴAᴴWᴴθ + Q^½ θ₂| ≤ Λ is feasible, and least squares are worth
    ½‖Wy‖² − ½‖Wy − θ‖² − ½‖θ₂‖². θ₂ is the one of least norm for a choice of b = DᴴAᴴWᴴθ + Q^½ θ₂ (see
    `GradientL1.conjugate`), which the codes make: at the optimum b = DᴴAᴴWᴴθ − Q x. Where a map has no λ at all the
    mean of DᴴAᴴWᴴθ must vanish, so that first the part of the point is taken out that does not.

    Parameters
    ----------
    codes : array, (batch, maps, \*space)
    point : array
        W(y − A D x) as the data term keeps it, or the q of another fit.
    """
    fit, penalty = problem.datafit, problem.levels.penalty
    point, scale = _admissible(problem, point)
    correlations = problem.correlations(fit.ascent(point))
    scale = namespace(scale).minimum(scale, penalty.limit(correlations))
    shaped = per_item(namespace(codes).astype(scale, real_dtype(codes)), codes.ndim)
    bent = penalty.conjugate(shaped * correlations, shaped * penalty.pull(codes))
    if not fit.quadratic:
        value = fit.dual(point, scale) - bent
        return namespace(value).maximum(value, namespace(value).zeros_like(value))
    norm_sq, overlap = fit.measures(point)
    norm_sq, overlap = scale * scale * norm_sq + 2 * bent, scale * overlap
    xp, positive = namespace(norm_sq), norm_sq > 0
    share = xp.clip(overlap / xp.where(positive, norm_sq, xp.ones_like(norm_sq)), 0.0, 1.0)
    return share * overlap - share * share * norm_sq / 2


def _admissible(problem: CSCProblem, point: Array) -> tuple[Array, Array]:
    """The point nearest to one given whose analysis has zero mean on maps without λ, and how far it may be scaled."""
    xp, fit, profiles = namespace(point), problem.datafit, problem.levels.free
    if profiles is None:
        return point, xp.ones_like(fit.energy)
    images = _flat_images(problem, profiles)
    gram = xp.stack([xp.stack([fit.dot(a, b) for b in images], axis=-1) for a in images], axis=-2)
    onto = xp.stack([fit.dot(point, a) for a in images], axis=-1)
    amounts = xp.matmul(xp.linalg.pinv(gram, rtol=1e-6), onto[..., None])[..., 0]
    for k, image in enumerate(images):
        amount = xp.repeat(xp.astype(amounts[:, k], real_dtype(point)), point.shape[0] // problem.batch)
        point = point - per_item(amount, point.ndim) * image
    return point, fit.reach(point)


def _flat_images(problem: CSCProblem, profiles: Array) -> list[Array]:
    """W A u for constant images u that span what maps without λ can make of their mean, as dual points."""
    fit, synthesis = problem.datafit, problem.synthesis
    xp, found = namespace(profiles), []
    for k in range(profiles.shape[2]):
        image = xp.reshape(profiles[:, :, k], (*profiles.shape[:2], *(1 for _ in synthesis.space)))
        image = xp.broadcast_to(image, (*profiles.shape[:2], *synthesis.space))
        image = xp.astype(xp.asarray(image, copy=True), problem.code_dtype)
        for turned in (image, 1j * image) if is_complex(image) else (image,):
            spectrum = synthesis.spectrum(turned)
            found.append(fit.ahead(spectrum if problem.system.factor is None else spectrum * problem.system.factor))
    return found
