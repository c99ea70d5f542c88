"""The epochs of a training: hard negatives mined anew, steps, an evaluation, a checkpoint.

Radenovic, Tolias, Chum (TPAMI 2018), section 3.3, and Iscen et al. (CVPR 2018), section 3.4.
"""

import logging
import math

import numpy as np
import torch

from resight.features.whitening import CovarianceSums, Whitening, fit_learned_whitening, pair_sums
from resight.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from resight.training.draw import Drawn, draw_anchors, pick_negatives
from resight.training.embed import describe_rows
from resight.training.evaluate import evaluate_part
from resight.training.examples import Examples
from resight.training.hard import mine_negatives
from resight.training.network import Network
from resight.training.photos import Photos
from resight.training.ranks import Ranks, require_launcher
from resight.training.settings import TrainSettings
from resight.training.step import Stepper

__all__ = ["Trainer"]

log = logging.getLogger("resight")


class Trainer:
    """A training in one process; several with the same arguments but their ranks train together.

    Parameters
    ----------
    folder : str
        URI where checkpoints are kept; one that is there is gone on with.
    examples : Examples
        What to train with.
    photos : Photos
        Their pixels.
    network : Network
        Its weights change.
    settings : TrainSettings
        How.
    ranks : Ranks
        Who takes part.
    """

    def __init__(
        self,
        folder: str,
        examples: Examples,
        photos: Photos,
        network: Network,
        settings: TrainSettings,
        ranks: Ranks,
    ) -> None:
        self.folder, self.examples, self.photos, self.network = folder, examples, photos, network
        self.settings, self.ranks = settings, ranks
        self.stepper = Stepper(network, photos, settings, ranks)
        self.states = {
            "trained": network.trained,
            "optimizer": self.stepper.optimizer,
            "scaler": self.stepper.scaler,
        }

    def look(self) -> None:
        """Read all photos once; those that cannot be read take no part.

        Raises
        ------
        ValueError
            Nothing is left to train with.
        """
        everything = np.arange(len(self.examples.image_ids))
        validated = everything[~self.examples.in_training]
        self.photos.prepare(everything[self.examples.in_training], self.settings.longer_side)
        for side in self.settings.sizes:
            self.photos.prepare(validated, side)
        bad = np.zeros(len(everything), bool)
        bad[list(self.photos.failures)] = True
        self.part = self.examples.part(training=True, bad=bad)
        self.validation = self.examples.part(training=False, bad=bad)
        self.excluded = self.examples.exclude(self.part)
        if not len(self.part.anchors):
            raise ValueError("no anchor of the training has a positive whose photo can be read")

    def train(self) -> Progress:
        """Go through the epochs that are left; the network then holds the weights to keep."""
        self.look()
        progress = load_checkpoint(self.folder, self.states)
        if progress is None:
            progress = Progress()
            first = {"epoch": 0, "step": 0, "loss": None, "learning_rate": None}
            progress.log.append(first | {"p": self.exponent(), "map": self.evaluate()})
        while progress.epoch <= self.settings.epochs:
            self.train_epoch(progress)
            self.close_epoch(progress)
        if progress.best is not None:
            self.network.trained.load_state_dict(progress.best)
        return progress

    def train_epoch(self, progress: Progress) -> None:
        """Take the steps that are left of an epoch."""
        conf, epoch = self.settings, progress.epoch
        rate = conf.rate_in(epoch)
        self.stepper.set_rate(rate)
        drawn = draw_anchors(self.part, n=conf.anchors, weighted=conf.weighted, seed=conf.seed, epoch=epoch)
        pieces = np.array_split(np.arange(len(drawn.chosen)), conf.mining_rounds)
        while progress.piece < len(pieces):
            if progress.slots is None or progress.weights is None:
                progress.slots, progress.weights = self.mine(drawn, pieces[progress.piece], progress)
            while progress.done < len(progress.slots):
                batch = slice(progress.done, progress.done + conf.batch_tuples)
                slots = progress.slots[batch]
                loss = self.stepper.step(slots, progress.weights[batch]) / len(slots)
                progress.done, progress.step = batch.stop, progress.step + 1
                row = {"epoch": epoch, "step": progress.step, "loss": loss, "learning_rate": rate}
                progress.log.append(row | {"p": self.exponent(), "map": None})
                if progress.step % conf.checkpoint_steps == 0:
                    self.save(progress)
            progress.piece, progress.done = progress.piece + 1, 0
            progress.slots = progress.weights = None

    def close_epoch(self, progress: Progress) -> None:
        """Evaluate, remember the best weights, write a checkpoint."""
        row, found = progress.log[-1], self.evaluate()
        row["map"] = found
        losses = [r["loss"] for r in progress.log if r["epoch"] == progress.epoch and r["loss"] is not None]
        mean = float(np.mean(losses)) if losses else math.nan
        score = "" if found is None else f", mAP {found:.4f}"
        if self.ranks.is_first:
            log.info("epoch %d: loss %.5f%s", progress.epoch, mean, score)
        if self.settings.keep == "best" and found is not None and found > progress.best_map:
            progress.best_map, progress.best_epoch = found, progress.epoch
            state = self.network.trained.state_dict().items()
            progress.best = {name: tensor.detach().cpu().clone() for name, tensor in state}
        progress.epoch, progress.piece, progress.done, progress.step = progress.epoch + 1, 0, 0, 0
        self.save(progress)

    def mine(self, drawn: Drawn, piece: np.ndarray, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        """Find hard negatives of some anchors in the network as it is: slots (t, 2 + k) and weights (t,)."""
        conf, part, chosen = self.settings, self.part, drawn.chosen[piece]
        found = mine_negatives(
            self.describe(part.rows, (conf.longer_side,)),
            part.anchors[chosen],
            n=conf.draw_from or conf.n_negatives,
            clusters=self.examples.clusters,
            copies=self.examples.copies,
            excluded=[self.excluded[i] for i in chosen],
            candidates=[part.negatives[i] for i in chosen] if conf.negatives == "listed" else None,
        )
        picked = pick_negatives(
            found, n=conf.n_negatives, seed=conf.seed, epoch=progress.epoch, part=progress.piece
        )
        slots = np.column_stack([part.anchors[chosen], drawn.positives[piece], picked])
        has_any = (picked >= 0).any(1)
        if len(piece) and not has_any.any():
            where = "listed" if conf.negatives == "listed" else "of another component"
            raise ValueError(f"negatives: no anchor has one that is {where}")
        return slots[has_any], drawn.weights[piece][has_any]

    def describe(self, rows: np.ndarray, sides: tuple[int, ...]) -> np.ndarray:
        """Describe photos by the network as it is: (m, d) float32, NaN in all other rows."""
        V = describe_rows(rows, sides, photos=self.photos, network=self.network, ranks=self.ranks)
        X = np.full((len(self.examples.image_ids), V.shape[1]), np.nan, np.float32)
        X[rows] = V
        return X

    def evaluate(self) -> float | None:
        """Mean average precision on the validation at the sizes of the settings; None without one."""
        if not len(self.validation.anchors):
            return None
        X = self.describe(self.validation.rows, self.settings.sizes)
        found = evaluate_part(X, self.validation, self.examples)
        return None if math.isnan(found) else found

    def fit_whitening(self) -> Whitening | None:
        """Learn a whitening from the matching pairs of the training, described as in an evaluation."""
        pairs = self.examples.pairs[np.isin(self.examples.pairs, self.part.rows).all(1)]
        if not self.settings.whitening_dims:
            return None
        rows = np.unique(pairs)
        X = self.describe(rows, self.settings.sizes)
        everything = CovarianceSums.of_rows(X[rows])
        dims = min(self.settings.whitening_dims, X.shape[1])
        return fit_learned_whitening(pair_sums(X, pairs), everything, dims=dims)[0]

    def exponent(self) -> float | None:
        """Give the exponent of GeM; None of another pooling."""
        trained = self.network.trained
        return float(trained.p.detach()) if trained.how == "gem" else None

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, once for all processes."""
        require_launcher()
        if self.ranks.is_first:
            save_checkpoint(self.folder, progress, self.states)
        if self.ranks.world > 1:
            torch.distributed.barrier()
