"""Multi-scenario CTR/CVR prediction for RecBole: MI-DPG and the models it is compared with.

Importing the package is all that is needed: it makes RecBole run on today's packages and registers
the models and trainers. Nothing in an installed package is edited.
"""

from recbole_midpg.wait_policy import wait_asleep as _wait_asleep

__version__ = "0.1.0"


def _register() -> None:
    """Mend RecBole for today's packages, then put our parts where it looks for its own."""
    from recbole_midpg.integration import compat

    compat.apply_before_recbole()

    from recbole_midpg.integration import (
        checkpoint,
        config,
        dataset_download,
        embedded_fields,
        log_file,
        model_constants,
        optimizer,
        process_group,
        processes,
        registry,
        row_filters,
        run,
        run_files,
        saved_dataset,
    )

    compat.apply_after_recbole()
    registry.install()
    run.install()
    run_files.install()  # before the process group's, which wraps it
    process_group.install()
    processes.install()
    config.install()
    embedded_fields.install()
    model_constants.install()
    checkpoint.install()
    dataset_download.install()
    row_filters.install()
    saved_dataset.install()
    optimizer.install()
    log_file.install()


_wait_asleep()  # before torch is loaded
_register()
