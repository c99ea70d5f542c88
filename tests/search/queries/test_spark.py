from resight.search.queries.spark import attach_regions, flag_regionless


def test_regions_are_packed_by_number_and_their_lack_is_a_status(spark):
    regions = spark.createDataFrame(
        [(1, 2, b"cc"), (1, 0, b"aa"), (3, 0, b"ee"), (1, 1, b"bb")],
        "image_id long, region_ix int, vector binary",
    ).repartition(2)
    described = spark.createDataFrame(
        [(1, "ok", None), (2, "ok", None), (4, "missing", "gone")],
        "image_id long, status string, error string",
    )
    rows = flag_regionless(attach_regions(described, regions)).collect()
    found = {row["image_id"]: (row["status"], row["region_vectors"], row["error"]) for row in rows}
    assert found == {
        1: ("ok", bytearray(b"aabbcc"), None),
        2: ("no_regions", None, "the image has no regions"),
        4: ("missing", None, "gone"),
    }
