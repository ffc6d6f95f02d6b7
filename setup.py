"""Packaging of recbole-midpg.

``dataset_configs/`` and ``atomic_data_scripts/`` stand outside of the package, where a user looks
for them, and are mapped into it so that a wheel carries them.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["recbole_midpg", "recbole_midpg.*"]),
        "recbole_midpg.dataset_configs",
        "recbole_midpg.atomic_data_scripts",
    ],
    package_dir={
        "recbole_midpg": "recbole_midpg",
        "recbole_midpg.dataset_configs": "dataset_configs",
        "recbole_midpg.atomic_data_scripts": "atomic_data_scripts",
    },
    package_data={
        "recbole_midpg": ["py.typed", "properties/*.yaml", "properties/*/*"],
        "recbole_midpg.dataset_configs": ["*.yaml"],
        "recbole_midpg.experiments": ["*.yaml"],
    },
)
