"""Opening a pickle that holds numbers only: a pickle can name any function to be called, so nearly all are refused."""

import io
import pickle
from typing import Any

import numpy as np

# NumPy's own way to rebuild an array, taken from an array because its module was renamed in NumPy 2: the files of 2009
# say numpy.core, newer ones numpy._core, and importing the old name warns.
_RECONSTRUCT = np.empty(0).__reduce__()[0]

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only NumPy arrays are allowed") from None


def loads_arrays(content: bytes) -> Any:
    """Unpickle lists, dictionaries, numbers, byte strings and NumPy arrays; nothing else, and no other function runs.

    Strings of Python 2 come back as bytes.

    Raises:
        pickle.UnpicklingError: the pickle asks for anything else, or is not a pickle.
    """
    try:
        return _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # broken bytes raise whatever their first wrong instruction happens to raise
        raise pickle.UnpicklingError(f"it is not a whole pickle ({type(error).__name__}: {error})") from error
