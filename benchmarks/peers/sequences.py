"""Logs of events as the padded sequences that libraries train on."""

import numpy as np
import pandas as pd


def users_of(log: pd.DataFrame) -> list[np.ndarray]:
    """Each user's items, oldest first; the log is ordered by user and place."""
    return [group.to_numpy() for _, group in log.groupby("user_id", sort=False)["item_id"]]


def windows(users: list[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 (n, length): all events of each user in windows, padded in front; and the event after each of them."""
    rows, after = [], []
    for items in users:
        for stop in range(len(items) - 1, 0, -length):
            start = max(0, stop - length)
            pad = (length - (stop - start), 0)
            rows.append(np.pad(items[start:stop], pad))
            after.append(np.pad(items[start + 1 : stop + 1], pad))
    return np.stack(rows).astype(np.int64), np.stack(after).astype(np.int64)
