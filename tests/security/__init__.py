"""Nothing is executed from data: the list of attacks, by what carries them.

Each test hands a real attack file, or words, to a command, and sees that it ends in a sentence
with status 2 or takes the value as text; that nothing ran; and that no file beside the user's
folder, nor one that was there before, was changed. Tests named with a module are elsewhere.

=====================  ============================================================================
carrier                attacks, and their tests
=====================  ============================================================================
command line           code and YAML tags as values: ``test_command_line``, ``tests.test_cli``,
                       ``tests.common.test_arguments``; a ``teacher`` that RecBole's KD_DAGFM
                       evaluates: ``test_command_line``
config files           YAML tags, code, values, depths and references that break the parser or
                       fill the memory, in configs, a dataset's config, tuned settings:
                       ``test_config_files``; texts that RecBole
                       would evaluate: ``tests.integration.config.test_config``
search spaces          ``test_config_files``, ``tests.experiments.test_search_space``
names                  a dataset, a part of a file's name, a model that leads out of a folder:
                       ``test_names``, ``test_config_files``; a scenario's name that is a command of
                       TeX: ``test_names``; any name in the cache: ``tests.loading``
checkpoints            pickles in three formats, compressed archives, code for KD_DAGFM, names with
                       folders, a rank that joins another machine, folders to write to, downloads,
                       attributes of the model: ``test_checkpoints``; pickles in memory:
                       ``tests.integration.run.test_checkpoint``
progress, run files    pickles; names of checkpoints that would be written over, elsewhere or of
                       another run; states that are none; others' ``.part`` files:
                       ``test_checkpoints``
scorers, folded        pickles, other models, parts that do not fit: ``test_checkpoints``
weights, item vectors  pickles that RecBole's own models read: ``test_checkpoints``
dataset cache          arrays of addresses, places before the file, other values, values that set
                       the config: ``test_caches``; every changed bit, others' ``.part`` files:
                       ``tests.loading.test_dataset_cache``
saved datasets         pickles, other values: ``test_caches``,
                       ``tests.integration.dataset.test_saved_dataset``; dataloaders:
                       ``test_caches``
archives               members and links that leave the folder, more than fits the disk, damage:
                       ``test_archives``, ``tests.atomic_data_scripts.test_raw_file``
downloads              addresses and redirections that are not https, checksums:
                       ``test_archives``, ``tests.atomic_data_scripts.test_download``
reports, records       depth, other forms; files that are no records and must not be emptied:
                       ``test_reports``, ``tests.analysis.test_reports``,
                       ``tests.experiments.test_record``
=====================  ============================================================================
"""
