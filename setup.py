"""Packaging of recbole-midpg.

``dataset_configs/``, ``atomic_data_scripts/`` and ``benchmarks/settings/`` stand outside of the
package, where a user looks for them, and are mapped into it so that a wheel carries them.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["recbole_midpg", "recbole_midpg.*"]),
        "recbole_midpg.dataset_configs",
        "recbole_midpg.atomic_data_scripts",
        "recbole_midpg.benchmark_settings",
    ],
    package_dir={
        "recbole_midpg": "recbole_midpg",
        "recbole_midpg.dataset_configs": "dataset_configs",
        "recbole_midpg.atomic_data_scripts": "atomic_data_scripts",
        "recbole_midpg.benchmark_settings": "benchmarks/settings",
    },
    package_data={
        "recbole_midpg": ["py.typed", "properties/*.yaml", "properties/*/*"],
        "recbole_midpg.dataset_configs": ["*.yaml"],
        "recbole_midpg.benchmark_settings": ["*.yaml"],
        "recbole_midpg.experiments": ["*.yaml"],
    },
)
