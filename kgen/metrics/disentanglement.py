"""How well each number of a code stands for one factor of the data, where the factors are known.

Codes are float (N, d), what ``encode`` gives; factors are ints (N,) each, by name, such as ``kgen.data.sprites_factors()``. Of
independent factors, each with a latent of its own, all of these are 1; of latents that mix the factors they are near 0.

Reference:
    Locatello et al., Challenging common assumptions in the unsupervised learning of disentangled representations, 2019, appendix B,
    arXiv 1811.12359.
"""

import numpy as np


def mutual_information_gap(codes, factors, bins=20):
    """MIG: of each factor, how much more one latent says of it than the next best one.

    mean_k (I(z_j1; v_k) - I(z_j2; v_k)) / H(v_k), with j1 and j2 the two latents of most information, from counts in ``bins`` equal bins
    between each latent's extremes.

    Args:
        codes: float array (N, d), d >= 2.
        factors: dict from a factor's name to ints (N,).
        bins: number of bins of each latent.
    Returns:
        float in [0, 1].
    Reference:
        Chen et al., Isolating sources of disentanglement in variational autoencoders, 2018, Eq. 6, arXiv 1802.04942.
    """
    codes, factors = _checked(codes, factors)
    edges = [np.linspace(z.min(), z.max(), bins + 1)[1:-1] for z in codes.T]
    cells = np.stack([np.digitize(z, e) for z, e in zip(codes.T, edges, strict=True)])
    gaps = []
    for values in factors.values():
        information = np.sort([_information(c, values) for c in cells])[::-1]
        gaps.append((information[0] - information[1]) / _information(values, values))
    return float(np.mean(gaps))


def attribute_predictability(codes, factors, seed=0):
    """SAP: of each factor, how much better one latent predicts it by itself than the next best one.

    mean_k (a_j1 - a_j2), with a_j the accuracy, on a half of the rows that was not fitted to, of a linear support vector machine that is
    shown z_j alone.

    Args:
        codes, factors: as in ``mutual_information_gap``.
        seed: int; which half.
    Returns:
        float in [0, 1].
    Reference:
        Kumar et al., Variational inference of disentangled latent concepts from unlabeled observations, 2018, section 3, arXiv 1711.00848.
    """
    from sklearn.svm import LinearSVC

    codes, factors = _checked(codes, factors)
    codes = (codes - codes.mean(0)) / np.maximum(codes.std(0), 1e-12)
    fit, held = _halves(len(codes), seed)
    gaps = []
    for values in factors.values():
        found = []
        for z in codes.T[:, :, None]:
            machine = LinearSVC(C=0.01, class_weight="balanced", random_state=seed).fit(z[fit], values[fit])
            found.append((machine.predict(z[held]) == values[held]).mean())
        best = np.sort(found)[::-1]
        gaps.append(best[0] - best[1])
    return float(np.mean(gaps))


def disentanglement_completeness(codes, factors, seed=0, trees=30):
    """DCI, from the importance R (d, K) of each latent for each factor in random forests.

    - disentanglement: sum_j r_j (1 - H_K(R_j / sum_k R_jk)), whether a latent serves one factor; r_j is its share of all importance;
    - completeness: mean_k (1 - H_d(R_k / sum_j R_jk)), whether a factor is in one latent;
    - informativeness: the mean accuracy of the forests on a half of the rows that they were not fitted to.

    H_n is the entropy to the base n.

    Args:
        codes, factors: as in ``mutual_information_gap``; at least two factors.
        seed: int; of the halves and the forests.
        trees: of each forest.
    Returns:
        dict of the three floats in [0, 1].
    Reference:
        Eastwood & Williams, A framework for the quantitative evaluation of disentangled representations, ICLR 2018, section 2.
    """
    from sklearn.ensemble import RandomForestClassifier

    codes, factors = _checked(codes, factors)
    if len(factors) < 2:
        raise ValueError(f"factors: expected at least two, received {list(factors)}.")
    fit, held = _halves(len(codes), seed)
    importance, accuracy = [], []
    for values in factors.values():
        forest = RandomForestClassifier(trees, max_features=None, min_samples_leaf=5, random_state=seed)
        forest.fit(codes[fit], values[fit])
        importance.append(forest.feature_importances_)
        accuracy.append((forest.predict(codes[held]) == values[held]).mean())
    table = np.stack(importance, axis=1)
    share = table.sum(axis=1) / table.sum()
    apart = 1.0 - _entropy(table, axis=1) / np.log(table.shape[1])
    whole = 1.0 - _entropy(table, axis=0) / np.log(table.shape[0])
    return {
        "disentanglement": float((share * apart).sum()),
        "completeness": float(whole.mean()),
        "informativeness": float(np.mean(accuracy)),
    }


def disentanglement_report(codes, factors, seed=0):
    """All of them: a dict from a figure's name to ``value``, ``unit`` and ``samples``, as ``kgen.Run.save_metrics`` takes it."""
    found = {"mig": mutual_information_gap(codes, factors), "sap": attribute_predictability(codes, factors, seed)}
    found |= disentanglement_completeness(codes, factors, seed)
    units = {
        "mig": "gap of information, as a share of the factor's entropy",
        "sap": "gap of accuracy",
        "disentanglement": "DCI, 1 - entropy",
        "completeness": "DCI, 1 - entropy",
        "informativeness": "DCI, accuracy of forests",
    }
    return {name: {"value": value, "unit": units[name], "samples": len(codes)} for name, value in found.items()}


def _checked(codes, factors):
    codes = np.asarray(codes, "float64")
    if codes.ndim != 2 or codes.shape[1] < 2 or not np.isfinite(codes).all():
        raise ValueError(f"codes: expected finite numbers (N, d), d >= 2, received shape {codes.shape}.")
    factors = {name: np.asarray(values) for name, values in factors.items()}
    for name, values in factors.items():
        if values.shape != (len(codes),) or len(np.unique(values)) < 2:
            raise ValueError(
                f"factors: {name}: expected {len(codes)} ints of at least two values, received shape {values.shape} with "
                f"{len(np.unique(values))}."
            )
    return codes, factors


def _halves(n, seed):
    order = np.random.default_rng(seed).permutation(n)
    return order[: n // 2], order[n // 2 :]


def _information(a, b):
    """The mutual information of two rows of ints, nats."""
    a, b = (np.unique(v, return_inverse=True)[1] for v in (a, b))
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1.0 / len(a))
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / independent[there])).sum())


def _entropy(table, axis):
    """The entropy along an axis of what is normalised along it, nats."""
    p = table / np.maximum(table.sum(axis=axis, keepdims=True), 1e-12)
    return -(p * np.log(np.maximum(p, 1e-12))).sum(axis=axis)
