"""CKA written down as the papers have it: slow, in float64, without a shortcut."""

import numpy as np


def hsic0(k, l):  # noqa: E741
    n = len(k)
    h = np.eye(n) - np.ones((n, n)) / n
    return np.trace(k @ h @ l @ h) / (n - 1) ** 2


def hsic1(k, l):  # noqa: E741
    n = len(k)
    one = np.ones(n)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    sums = np.trace(k @ l) + one @ k @ one * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ l @ one
    return sums / (n * (n - 3))


def cka_of_grams(k, l, *, debiased):  # noqa: E741
    hsic = hsic1 if debiased else hsic0
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def direct_cka(x, y, *, debiased=True):
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return cka_of_grams(x @ x.T, y @ y.T, debiased=debiased)
