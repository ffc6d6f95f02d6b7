"""Every name of RecBole's that is replaced, wrapped or added, in one table.

RecBole has few places where a package may put parts of its own, so that ours stand under RecBole's
names, in memory alone. :data:`SEAMS` is the whole list: where the name stands, what stands there
now, why, and the version of RecBole whose form ours follows. A test installs the table into a new
RecBole and compares all of RecBole before and after.

RecBole imports most models when they are first asked for; entries that change such a model's module
(:class:`OfModel`) are installed then.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import recbole
import recbole.trainer
import recbole.utils
import torch
from recbole.config import Config
from recbole.data import utils as data_utils
from recbole.data.dataset import dataset as dataset_module
from recbole.data.dataset import kg_dataset
from recbole.data.dataset.dataset import Dataset
from recbole.evaluator import base_metric, collector
from recbole.evaluator.evaluator import Evaluator
from recbole.model import abstract_recommender, layers
from recbole.model.context_aware_recommender import afm, ffm, fignn, kd_dagfm, pnn
from recbole.quick_start import quick_start
from recbole.trainer import HyperTuning
from recbole.trainer import trainer as trainer_module
from recbole.trainer.trainer import (
    NCLTrainer,
    PretrainTrainer,
    RaCTTrainer,
    S3RecTrainer,
    Trainer,
)
from recbole.utils import case_study
from recbole.utils import logger as recbole_logger

from recbole_midpg.common.replacing import ModuleWith
from recbole_midpg.integration import compat
from recbole_midpg.integration.config import config
from recbole_midpg.integration.dataset import (
    batches,
    dataset_download,
    number_scaling,
    rare_tokens,
    row_filters,
    saved_dataset,
    time_split,
    trust,
    unembedded_fields,
)
from recbole_midpg.integration.metrics import collecting, metrics
from recbole_midpg.integration.models import (
    decision_trees,
    model_constants,
    registry,
    safe_reading,
    stock_repairs,
)
from recbole_midpg.integration.run import (
    checkpoint,
    history,
    log_file,
    optimizer,
    process_group,
    processes,
    run,
    run_files,
    validation,
)
from recbole_midpg.integration.scoring import full_sort
from recbole_midpg.training.trainer import ScenarioTrainer, passing_bar

_MARKER = "_seams_of_midpg"


@dataclass(frozen=True)
class Seam:
    """A name of RecBole's whose value is replaced.

    Attributes:
        owner: the class or module where the name stands, or its :class:`OfModel`.
        name: the name.
        ours: the value that stands there instead.
        why: the reason.
        since: the version of RecBole whose form of the name ours follows.
    """

    owner: Any
    name: str
    ours: Any
    why: str
    since: str = "1.2.1"

    def install(self, modules: Collection[ModuleType]) -> None:
        """Put our value in its place.

        Args:
            modules: where a function may have been imported by name.
        """
        setattr(self.owner, self.name, self.ours)


class Added(Seam):
    """A name that RecBole does not have, and looks for or carries along."""


class Shimmed(Seam):
    """A name that ``ours``, a shim for today's packages, changes where the defect is present.

    Shims are applied before the table, as plain RecBole is timed with them alone.
    """

    def install(self, modules: Collection[ModuleType]) -> None:
        """Change nothing: it is done."""


class Function(Seam):
    """A function that is replaced in every module that has imported it by name."""

    def install(self, modules: Collection[ModuleType]) -> None:
        """Put our function in the place of the same object in every module, by any name."""
        stock = getattr(self.owner, self.name)
        for module in modules:
            for name, value in list(vars(module).items()):
                if value is stock:
                    setattr(module, name, self.ours)


class Wrapped(Seam):
    """A method or function that ours call: ``ours`` are its wrappers, from the inside out."""

    def install(self, modules: Collection[ModuleType]) -> None:
        """Put the wrapped method in its place."""
        value = getattr(self.owner, self.name)
        for wrap in self.ours:
            value = wrap(value)
        setattr(self.owner, self.name, value)


@dataclass(frozen=True)
class OfModel:
    """The module of one of RecBole's models, or a class in it, once that model is asked for.

    Attributes:
        module: the module, in ``recbole.model``.
        class_name: the class; ``None`` for the module.
    """

    module: str
    class_name: str | None = None

    @property
    def module_name(self) -> str:
        """The module's whole name."""
        return f"recbole.model.{self.module}"

    def found(self) -> Any:
        """The module or class itself, which has been imported."""
        module = sys.modules[self.module_name]
        return module if self.class_name is None else getattr(module, self.class_name)


_FIELD_AWARE = ffm.FieldAwareFactorizationMachine
_DEVICE = "a copy from the host in every batch makes a GPU wait, and cannot be captured in a graph"
_PANDAS = "pandas 3 changed three things that RecBole's frames rely on, two of them silently"
_UNPICKLES = "torch.load unpickles the weights that the model begins with, before torch 2.6"
_SCATTER = "torch_scatter has no wheels in the package index"
_RERANKED = "it reranks 100 items, of however many there are"
_IDENTITY = "our models find their trainer where RecBole looks for one of the model's name"

SEAMS: tuple[Seam, ...] = (
    # Starting a run
    Function(
        quick_start, "run", processes.run,
        "a dead process ends the run, its port is checked, and the CPU is a device as well",
    ),
    Function(
        quick_start, "run_recbole", run.run_recbole,
        "one run for the command and Python: checks, resuming, reports, scenarios",
    ),
    Function(
        recbole.utils, "get_model", registry.get_model,
        "a model that is not known, or lacks a package, ends in one sentence",
    ),
    Function(
        recbole.utils, "get_flops", registry.get_flops,
        "thop knows nothing of our layers, and RecBole copies the embeddings for it",
    ),
    Function(
        recbole.utils, "init_logger", log_file.init_logger,
        "a full disk ends the log, not the run; one process of several writes it; the terminal "
        "shows a digest",
    ),
    Wrapped(
        recbole_logger, "init", (functools.cache,),
        "colorama wraps the terminal's streams once more at every run",
    ),
    Function(
        recbole.utils, "get_local_time", run_files.get_local_time,
        "two runs that began in one second wrote the same checkpoint",
    ),
    Function(
        recbole.utils, "get_tensorboard", process_group.for_rank_0(run_files.get_tensorboard),
        "two runs shared a folder of curves; one process of several writes them",
    ),
    Function(
        recbole.utils, "ensure_dir", process_group.ensure_dir,
        "it fails where another process is as fast",
    ),
    # Config
    Wrapped(
        Config, "_get_model_and_dataset", (config.with_checked_name,),
        "a dataset's name may not leave its folder",
    ),
    Wrapped(
        Config, "_load_internal_config_dict", (config.with_own_defaults,),
        "defaults of our models and datasets come after RecBole's and before the user's",
    ),
    Seam(
        Config, "_convert_config_dict", config.convert_without_running,
        "RecBole passes values to eval",
    ),
    Seam(
        Config, "_load_cmd_line", config.load_command_line,
        "RecBole drops a value that holds a =",
    ),
    Seam(
        Config, "_load_config_files", config.load_config_files,
        "a file's problem is said with its name and line",
    ),
    Wrapped(
        Config, "_set_default_parameters", (config.with_checks,),
        "keys and values are checked before data is loaded",
    ),
    Wrapped(
        Config, "_init_device", (process_group.with_joining,),
        "RecBole joins processes over NCCL alone, and uses GPUs that are hidden",
    ),
    # Datasets
    Function(
        data_utils, "create_dataset", saved_dataset.create_dataset,
        "RecBole unpickles saved datasets, and trains on them after their files changed",
    ),
    Seam(
        Dataset, "save", saved_dataset.save_dataset,
        "RecBole pickles the dataset",
    ),
    Function(
        data_utils, "load_split_dataloaders", saved_dataset.refuse_split_dataloaders,
        "RecBole unpickles them",
    ),
    Function(
        data_utils, "save_split_dataloaders", saved_dataset.refuse_to_save_dataloaders,
        "RecBole pickles them",
    ),
    Function(
        data_utils, "data_preparation", trust.data_preparation,
        "data is checked for whoever prepares it, by the command or RecBole's own steps",
    ),
    Function(
        data_utils, "get_dataloader", batches.get_dataloader,
        "batches of flat data are gathered at once instead of row by row",
    ),
    Wrapped(
        Dataset, "build",
        (
            time_split.by_time, validation.with_empty_validation, full_sort.with_earlier_rows,
        ),
        "time_split splits by days; two pre-split files are training and test; rankings leave out "
        "what a user has seen in the splits before",
    ),
    Wrapped(
        Dataset, "fields", (unembedded_fields.without_unembedded,),
        "fields that only name a scenario or a time are not embedded",
    ),
    Seam(
        Dataset, "_data_filtering", row_filters.filter_rows,
        "rows that a filter drops are counted",
    ),
    Seam(
        Dataset, "_download", dataset_download.download_dataset,
        "a download that was cut off counted as there; a server could lead anywhere",
    ),
    Seam(
        kg_dataset, "download_url", dataset_download.fetch_into,
        "as Dataset._download, of the knowledge graph's archive",
    ),
    Seam(
        kg_dataset, "extract_zip", dataset_download.unpack,
        "as Dataset._download, of the knowledge graph's archive",
    ),
    *(
        Shimmed(module, "pd", compat.restore_pandas_2_semantics, _PANDAS)
        for module in (dataset_module, kg_dataset)
    ),
    # Training
    *(
        Added(recbole.trainer, f"{name}Trainer", ScenarioTrainer, _IDENTITY)
        for name in (*registry.own_models(), *registry.entire_space_models())
    ),
    *(
        Seam(
            recbole.trainer, f"{name}Trainer", decision_trees.TreeTrainer,
            "RecBole's keep neither a history nor a checkpoint that can be read",
        )
        for name in decision_trees.TREE_MODELS
    ),
    Added(Trainer, "history", (), "losses and results of every epoch, for the report"),
    Added(Trainer, "epoch_lines", None, "what shows each epoch on the terminal in a line"),
    Seam(
        trainer_module, "tqdm", passing_bar,
        "a bar for each part of an epoch stays on the terminal, and fills a file",
    ),
    *(
        # The last three have a loop of their own, which may end without Trainer's.
        Wrapped(
            trainer_class, "fit", (validation.with_empty_results, history.with_history),
            "as Trainer.history; results that are None where nothing is validated end HyperTuning",
        )
        for trainer_class in (Trainer, NCLTrainer, RaCTTrainer, S3RecTrainer)
    ),
    Wrapped(
        Trainer, "_add_train_loss_to_tensorboard", (history.with_record,),
        "every trainer calls it with an epoch's losses, right after the epoch",
    ),
    Wrapped(
        Trainer, "_valid_epoch", (metrics.with_phase, history.with_results),
        "metrics know the split they measure; results of every epoch are kept",
    ),
    Wrapped(
        Trainer, "_build_optimizer",
        (
            optimizer.with_row_wise_updates, optimizer.with_dense_weight_decay,
            optimizer.with_check_of_penalties,
        ),
        "Adam on all rows of large tables takes most of a step; embeddings want no decay",
    ),
    Seam(Trainer, "_check_nan", trust.check_loss, "RecBole passes over an infinite loss"),
    Shimmed(
        HyperTuning,
        "__init__",
        compat.let_hyperopt_import,
        "hyperopt imports pkg_resources, which setuptools dropped",
    ),
    # Checkpoints
    Wrapped(
        abstract_recommender.ContextRecommender, "__init__",
        (
            number_scaling.keeping_scalers,
            rare_tokens.keeping_rare_tokens,
            stock_repairs.checked_first(stock_repairs.check_dataset),
        ),
        "a model keeps the scale of its numbers and its rare tokens, which its checkpoints hold; a "
        "loader given for the dataset is named",
    ),
    Added(Trainer, "vocabulary", None, "tokens and fields, for predictions from the checkpoint"),
    Added(Trainer, "run_state", None, "what a resumed run goes on from"),
    Added(Trainer, "saved_epoch", None, "the epoch that the checkpoint on disk is of"),
    Seam(
        Trainer, "_save_checkpoint", checkpoint.save_checkpoint,
        "plain values, which load without running code, written whole or not at all",
    ),
    Seam(
        Trainer, "resume_checkpoint", checkpoint.resume_checkpoint,
        "RecBole unpickles the file",
    ),
    Seam(
        PretrainTrainer, "save_pretrained_model", checkpoint.save_pretrained_model,
        "as Trainer._save_checkpoint",
    ),
    Function(
        quick_start, "load_data_and_model", checkpoint.load_data_and_model,
        "RecBole unpickles the file",
    ),
    # Evaluation
    Shimmed(
        Evaluator,
        "evaluate",
        compat.return_plain_metric_values,
        "numpy 2 changed how its numbers print",
    ),
    Wrapped(
        Trainer, "evaluate", (metrics.with_names, checkpoint.with_safe_loading),
        "scenarios have names; the best checkpoint is read as plain values",
    ),
    Wrapped(
        Evaluator, "evaluate", (metrics.with_evaluated_rows,),
        "what was evaluated last is kept, for tables of it",
    ),
    Seam(
        base_metric.LossMetric, "used_info", metrics.scores_and_labels,
        "scores and labels are read once for all metrics, as they are",
    ),
    Function(
        case_study, "full_sort_scores", full_sort.full_sort_scores,
        "RecBole's needs a loader that sorts all items, which labels do not make",
    ),
    Function(
        recbole.utils, "calculate_valid_score", metrics.valid_score,
        "RecBole knows no capitals in the names of metrics, as of scenarios",
    ),
    Seam(
        collector, "DataStruct", collecting.GrowingDataStruct,
        "RecBole joins all rows anew at every batch",
    ),
    Seam(
        collector.Collector, "get_data_struct", collecting.take_data_struct,
        "RecBole copies all rows once more, and each process would measure its own alone",
    ),
    Seam(
        collector.Collector, "eval_batch_collect", collecting.collect_batch,
        "metrics of scenarios and groups need the rows' scenarios and groups",
    ),
    # Constants of RecBole's models, on the device
    Wrapped(
        layers.FMEmbedding, "__init__",
        (model_constants.keeping(offsets_kept="offsets"),), _DEVICE,
    ),
    Seam(layers.FMEmbedding, "forward", model_constants.embed_tokens, _DEVICE),
    Wrapped(
        layers.FLEmbedding, "__init__",
        (model_constants.keeping(offsets_kept="offsets"),), _DEVICE,
    ),
    Seam(layers.FLEmbedding, "forward", model_constants.embed_numbers, _DEVICE),
    Wrapped(
        _FIELD_AWARE, "__init__",
        (
            model_constants.keeping(
                token_offsets_kept="token_offsets", float_offsets_kept="float_offsets"
            ),
        ),
        _DEVICE,
    ),
    Seam(_FIELD_AWARE, "_emb_token_ffm_input", model_constants.embed_tokens_for_fields, _DEVICE),
    Seam(_FIELD_AWARE, "_emb_float_ffm_input", model_constants.embed_numbers_for_fields, _DEVICE),
    Wrapped(
        fignn.FiGNN, "__init__",
        (model_constants.keeping(src_nodes="src_nodes", dst_nodes="dst_nodes"),), _DEVICE,
    ),
    Seam(afm.AFM, "build_cross", model_constants.pairs_of_fields, _DEVICE),
    Seam(pnn.InnerProductLayer, "forward", model_constants.inner_products, _DEVICE),
    Seam(pnn.OuterProductLayer, "forward", model_constants.outer_products, _DEVICE),
    *(
        Seam(module, "torch", ModuleWith(torch, FloatTensor=model_constants.one_number), _DEVICE)
        for module in (abstract_recommender, layers, ffm)
    ),
    Seam(fignn, "torch", ModuleWith(torch, eye=model_constants.identity_matrix), _DEVICE),
    # What RecBole's models read
    *(
        Seam(owner, "torch", ModuleWith(torch, load=safe_reading.load_weights), _UNPICKLES)
        for owner in (
            kd_dagfm,
            OfModel("general_recommender.convncf"),
            OfModel("general_recommender.nais"),
            OfModel("general_recommender.neumf"),
            OfModel("general_recommender.ract"),
            OfModel("sequential_recommender.s3rec"),
        )
    ),
    Seam(
        OfModel("general_recommender.ldiffrec"), "np",
        ModuleWith(np, load=safe_reading.load_array),
        "it unpickles a file of the dataset's folder",
    ),
    Added(
        kd_dagfm, "eval", safe_reading.network_named,
        "it runs the config's teacher as Python",
    ),
    # What keeps RecBole's models from running
    *(
        Wrapped(
            model_class, "__init__", (stock_repairs.checked_first(stock_repairs.check_dataset),),
            "a loader given for the dataset ends in an AttributeError",
        )
        for model_class in (
            abstract_recommender.GeneralRecommender,
            abstract_recommender.KnowledgeRecommender,
            abstract_recommender.SequentialRecommender,
        )
    ),
    Wrapped(
        OfModel("knowledge_aware_recommender.kgin", "Aggregator"), "forward",
        (stock_repairs.aggregating_in_torch,), _SCATTER,
    ),
    Wrapped(
        OfModel("knowledge_aware_recommender.mcclk", "Aggregator"), "forward",
        (stock_repairs.aggregating_in_torch,), _SCATTER,
    ),
    Wrapped(
        OfModel("knowledge_aware_recommender.kgat", "KGAT"), "__init__",
        (stock_repairs.counting_edges_without_dgl,),
        "no DGL that works with today's torch has what it calls",
    ),
    Seam(
        OfModel("general_recommender.dgcf"), "sample_cor_samples",
        stock_repairs.sample_users_and_items,
        "it samples more users, or items, than small data has",
    ),
    Wrapped(
        OfModel("general_recommender.ncl", "NCL"), "run_kmeans",
        (stock_repairs.clustering_where_the_model_is,),
        "it clusters on a GPU, which faiss-cpu does not know",
    ),
    Wrapped(
        OfModel("general_recommender.ncl", "NCL"), "__init__",
        (stock_repairs.checked_first(stock_repairs.check_clusters),),
        "more clusters than users or items end the first epoch",
    ),
    Wrapped(
        OfModel("sequential_recommender.ksr", "KSR"), "__init__",
        (
            stock_repairs.keeping_vectors_in_single_precision,
            stock_repairs.checked_first(
                stock_repairs.check_vectors("kg_embedding_size", "ent_id", "rel_id")
            ),
        ),
        "it multiplies vectors in float64 by weights in float32; vectors of another length than "
        "its own end in an error of torch",
    ),
    Wrapped(
        OfModel("sequential_recommender.gru4reckg", "GRU4RecKG"), "__init__",
        (stock_repairs.checked_first(stock_repairs.check_vectors("embedding_size", "ent_id")),),
        "vectors of another length than its own end in an error of torch",
    ),
    Wrapped(
        OfModel("sequential_recommender.gru4reccpr", "GRU4RecCPR"), "__init__",
        (stock_repairs.checked_first(stock_repairs.check_reranked),), _RERANKED,
    ),
    Wrapped(
        OfModel("sequential_recommender.sasreccpr", "SASRecCPR"), "__init__",
        (stock_repairs.checked_first(stock_repairs.check_reranked),), _RERANKED,
    ),
)  # fmt: skip


def _install_of_model(seam: Seam) -> None:
    """Put an entry of :class:`OfModel` in its place, in the model's module."""
    replace(seam, owner=seam.owner.found()).install([])


def install(also_in: Collection[str] = ()) -> None:
    """Install the table, our models and our metrics; a second call does nothing.

    Args:
        also_in: names of other modules than RecBole's that may hold its functions, as they were
            imported before this package.
    """
    if hasattr(recbole, _MARKER):
        return
    setattr(recbole, _MARKER, True)
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "recbole" or name in also_in
    ]
    for seam in SEAMS:
        owner = seam.owner
        if isinstance(owner, OfModel):
            registry.when_asked_for(owner.module_name, functools.partial(_install_of_model, seam))
        else:
            seam.install(modules)
    registry.register_models()
    metrics.register_metrics()
