"""The quadratic step of the primal-dual solver, exact per frequency: its system, and what goes on its right side."""

from __future__ import annotations

from typing import Any

from cscopt import fft, kernels
from cscopt.backend import Array, namespace, per_item
from cscopt.penalties import Penalty
from cscopt.penalties.differences import Differences
from cscopt.problem import CSCProblem


class Metric:
    """The system ρ T + Bᴴ t² B of a problem, with T = I + Σ_k K_kᴴK_k over the terms that act on codes.

    T is diagonal, and a number where no term is a total variation of maps. B are the filters D, and after them D w for
    each term that acts on a reconstruction with weights w of its own: blocks of channels. t² comes with each step.
    """

    def __init__(self, problem: CSCProblem) -> None:
        synthesis, xp = problem.synthesis, namespace(problem.signal)
        bank, weight, stacked = synthesis.filters, 1.0, [synthesis.filters.values]
        self.places: list[int] = []
        for part in problem.penalty.tail:
            self.places.append(0)
            if not isinstance(part, Differences):
                weight = weight + 1.0
            elif not part.of_image:
                square = 1.0 if part.weights is None else per_item(part.weights**2, 1 + len(synthesis.grid))
                weight = weight + square * part.symbol[None, ...]
            elif part.weights is not None:
                self.places[-1] = len(stacked)
                stacked.append(part.filters.values)
        values = xp.concat(stacked, axis=1) if len(stacked) > 1 else bank.values
        self.weight: Any = weight
        self.blocks, self.channels = len(stacked), synthesis.image_channels
        self.scaled = bank._replace(values=values / (weight if isinstance(weight, float) else weight[:, None, ...]))
        self.gram = xp.sum(xp.conj(values)[:, None, ...] * self.scaled.values[:, :, None, ...], axis=0)

    def solve(self, maps: Array, image: Array, gain: Array, rho: Array) -> tuple[Array, Array]:
        r"""x = (ρ T + Bᴴ t² B)⁻¹ (ρ a + Bᴴ e) on the grid, and the spectra of B x.

        With H = B T⁻¹ Bᴴ and d = (ρ + t² H)⁻¹ (e − t² B T⁻¹ a), x = T⁻¹ (a + Bᴴ d) and B x = B T⁻¹ a + H d.

        Parameters
        ----------
        maps : array, (rows, maps, \*grid)
            a.
        image, gain : array, (rows, channels of all blocks, \*freq)
            e and t².
        rho : array, (rows,)
        """
        bank, kernel, xp = self.scaled, kernels.for_array(maps), namespace(maps)
        if isinstance(self.weight, float):
            ahead, base = kernel.synthesize(maps, bank), maps / self.weight
        else:
            spectrum = fft.forward(maps, bank.grid)
            ahead = xp.sum(bank.values[None, ...] * spectrum[:, :, None, ...], axis=1)
            base = fft.inverse(spectrum / self.weight[None, ...], bank.grid, bank.real)
        d = self._solve_gram(image - gain * ahead, gain, rho)
        return base + kernel.analyze(d, bank), ahead + xp.sum(self.gram[None, ...] * d[:, None, ...], axis=2)

    def block(self, spectra: Array, k: int) -> Array:
        """One block of the channels of B x."""
        return spectra[:, k * self.channels : (k + 1) * self.channels, ...]

    def _solve_gram(self, image: Array, gain: Array, rho: Array) -> Array:
        """(ρ + t² H)⁻¹ at each frequency."""
        xp, shift, count = namespace(image), per_item(rho, image.ndim), self.gram.shape[0]
        if count == 1:
            return image / (shift + gain * xp.real(self.gram[0, ...]))
        eye = xp.eye(count, dtype=self.gram.dtype, device=image.device)
        eye = xp.reshape(eye, (1, count, count) + (1,) * (image.ndim - 2))
        matrix = shift[..., None] * eye + gain[:, :, None, ...] * self.gram[None, ...]
        columns = xp.moveaxis(image, 1, -1)[..., None]
        solved = xp.linalg.solve(xp.moveaxis(matrix, (1, 2), (-2, -1)), columns)
        return xp.moveaxis(solved[..., 0], -1, 1)


class RightSide:
    """ρ a + Bᴴ e of a quadratic step, gathered part by part, with the gains t² that belong to e."""

    def __init__(self, problem: CSCProblem, metric: Metric, rho: Array, maps: Array) -> None:
        self.problem, self.metric, self.rho, self.maps = problem, metric, rho, maps
        self.factor = problem.system.factor
        zero = namespace(rho).zeros_like(namespace(maps).real(metric.scaled.values[:1, :1, ...]))
        self.images: list[Any] = [zero] * metric.blocks
        self.gains: list[Any] = [zero] * metric.blocks

    def add_term(self, part: Penalty, place: int, ahead: Array) -> None:
        """ρ K_kᴴ (2 z − v) of a term of the tail."""
        if not isinstance(part, Differences):
            self.maps = self.maps + ahead
        elif not part.of_image:
            self.maps = self.maps + part.adjoint(ahead)
        else:
            rho = per_item(self.rho, self.maps.ndim)
            image = fft.forward(part.divergence(ahead), self.problem.synthesis.grid)
            self._add(place, rho * image, rho * part.symbol)

    def add_target(self) -> None:
        """(A D)ᴴ y of least squares that stay in the frequency domain, with t² = |Â|²."""
        self._add(0, self._back(self.problem.datafit.target), self._response())

    def add_data(self, spectrum: Array, ahead: Array, strength: Array) -> None:
        """σ ‖A‖² DᴴD x − (A D)ᴴ (2 q⁺ − q) of a fit that is split off, from the spectrum of D x and 2 q⁺ − q."""
        gain = per_item(self.problem.per_row(strength), spectrum.ndim) * self._response()
        self._add(0, gain * spectrum - self._back(self.problem.datafit.back(ahead)), gain)

    def solve(self) -> tuple[Array, Array]:
        """x, and the spectra of B x."""
        xp, shape = namespace(self.maps), (self.maps.shape[0], self.metric.channels, *self.images[0].shape[2:])
        whole = [xp.concat([xp.broadcast_to(p, shape) for p in parts], axis=1) for parts in (self.images, self.gains)]
        return self.metric.solve(self.maps, whole[0], whole[1], self.rho)

    def _add(self, block: int, image: Array, gain: Any) -> None:
        self.images[block] = self.images[block] + image
        self.gains[block] = self.gains[block] + gain

    def _back(self, spectrum: Array) -> Array:
        return spectrum if self.factor is None else spectrum * namespace(spectrum).conj(self.factor)

    def _response(self) -> Any:
        return 1.0 if self.factor is None else namespace(self.rho).abs(self.factor) ** 2
