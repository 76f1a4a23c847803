#!/usr/bin/env python3
"""Prints what scipy, scikit-learn and numpy say where src/eval/stats_test.c has numbers."""
import numpy as np
from scipy import stats
from sklearn import metrics

for right, count in [(0, 10), (10, 10), (1, 3), (2683, 3190), (50, 100)]:
    ci = stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
    print("wilson %d/%d %.12f %.12f" % (right, count, ci.low, ci.high))

for a, b in [(0, 0), (5, 1), (10, 25), (400, 310), (3, 3)]:
    print("mcnemar %d %d %.12g" % (a, b, stats.binomtest(a, a + b).pvalue if a + b else 1))

actual = [0, 0, 0, 0, 1, 1, 1, 2, 2, 4]
predicted = [0, 0, 1, 2, 1, 1, 0, 2, 5, 4]
p, r, f, s = metrics.precision_recall_fscore_support(actual, predicted, zero_division=0)
print("precision", p, "recall", r, "f1", f, "support", s)
print("macro f1 %.12f" % metrics.f1_score(actual, predicted, average="macro", zero_division=0))

# 300 answers in 60 groups of 5, right for whole groups at once: value = ((i // 5) * 7) % 10 < 6,
# except that every eleventh answer is turned round.
i = np.arange(300)
value = (((i // 5) * 7) % 10 < 6).astype(float)
value[::11] = 1 - value[::11]
rng = np.random.default_rng(1)
groups = value.reshape(60, 5).sum(1)
means = groups[rng.integers(0, 60, (200000, 60))].sum(1) / 300
print("mean %.12f grouped bootstrap %.4f %.4f" % (value.mean(), *np.quantile(means, [.025, .975])))
means = np.concatenate([value[rng.integers(0, 300, (20000, 300))].mean(1) for _ in range(10)])
print("alone bootstrap %.4f %.4f" % tuple(np.quantile(means, [.025, .975])))
residue = groups - 5 * value.mean()
print("design effect %.12f" % ((residue ** 2).sum() / ((value - value.mean()) ** 2).sum()))

confidence = np.array([0.05, 0.15, 0.18, 0.55, 0.95, 1.0, 0.99, 0.2])
right = np.array([0, 1, 0, 1, 1, 1, 0, 0])
bins = np.minimum((confidence * 10).astype(int), 9)
print("ece %.12f" % sum(abs(right[bins == b].mean() - confidence[bins == b].mean()) *
                        (bins == b).mean() for b in set(bins)))
