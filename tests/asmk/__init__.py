"""The properties that a match kernel must have, by number, and where each is asserted.

 1 scores are the double sum: test_kernel, test_search (codes and vectors over shards), jobs/test_build_index
 2 K(X, X) = 1, symmetric, 0 without a common word: test_kernel, test_search
 3 one descriptor per word: ASMK is SMK; the linear kernel is the product of sums: test_kernel
 4 u = 1 - 2 h / B, and the table is sigma: test_binarize, test_kernel
 5 thresholds of the paper are distances: test_kernel
 6 aggregated scores lie in [0, 1] and fall with alpha and tau: test_kernel, test_search
 7 SMK is not bounded by 1: test_kernel
 8 several words per descriptor; the norm of a query ranks nothing: test_kernel, test_search
 9 aggregation takes the weight from bursts: test_kernel
10 shards change no bit, parts of the words add up: test_score, test_search, test_kernel, searching/test_spark
11 order and batches change nothing, an image is whole: test_aggregate, test_work, test_shard, test_spark
12 the sign of the sum is that of the mean, scaling changes nothing: test_aggregate
13 weights: test_statistics; whatever the increments: jobs/test_build_index
14 packing, lengths that are no multiple of 8: test_binarize, test_shard, test_score
15 numbers of entries: test_aggregate
16 aggregation across images, codes and kept matches by its limits: test_across, test_spark
17 two members give the OR of their bits: test_across
18 a bit is one in half of the training descriptors: codebook/test_medians
19 on photos ASMK > SMK with weights against bursts > SMK > bag of words, alpha, bits: test_photos. That more
   keypoints and more words per keypoint help is not so on its few photos, and is not asserted; vectors
   instead of bits across images are not built.
"""
