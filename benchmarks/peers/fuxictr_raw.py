"""Raw Criteo-like columns through FuxiCTR's own feature processor."""


def build(session):
    """Write the feature map and the encoded rows of train and test into the session's work folder, as its own tools do."""
    import ray
    from fuxictr.preprocess import FeatureProcessor, build_dataset

    numbers, words = [f"I{j}" for j in range(1, 14)], [f"C{j}" for j in range(1, 27)]
    columns = [
        dict(name=numbers, active=True, dtype="float", type="numeric", fill_na=0, normalizer="StandardScaler"),
        dict(name=words, active=True, dtype="str", type="categorical", fill_na=""),
    ]
    build_dataset(
        FeatureProcessor(columns, {"name": "label", "dtype": "float"}, "x", session.work),
        train_data=f"{session.folder}/train.parquet",
        test_data=f"{session.folder}/test.parquet",
        data_format="parquet",
        min_categr_count=1,
    )
    ray.shutdown()
    session.folder = f"{session.work}/x"
