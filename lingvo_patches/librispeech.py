"""The LibriSpeech recognisers of the paper, declared from the facts of lingvo's published configuration.

Executed under the name ``lingvo.tasks.asr.params.librispeech`` (see `lingvo_patches.models`), so that lingvo's
registry knows the models as ``asr.librispeech.Librispeech960Wpm`` and ``asr.librispeech.Librispeech960Grapheme``. A
model that is registered under such a name already keeps it.

The sources of the numbers are lingvo's ``tasks/asr/params/librispeech.py`` at commits 7f51593 and 1de52dd, which agree.
"""

from __future__ import annotations

from typing import Any

from lingvo import model_registry
from lingvo.core import base_model_params, py_utils, schedule, tokenizers
from lingvo.tasks.asr import input_generator, model

__all__ = ["Librispeech960Base", "Librispeech960Grapheme", "Librispeech960Wpm"]

#: Upper bounds of utterance lengths in frames, per bucket; evaluation widens the last one.
_BUCKETS = (639, 1062, 1275, 1377, 1449, 1506, 1563)
_LAST_TRAINING_BUCKET, _LAST_EVALUATION_BUCKET = 1710, 3600
#: Utterances per batch, per bucket.
_BATCHES = (96, 48, 48, 48, 48, 48, 48, 48)


def _register(declaration: type) -> type:
    """Register a model, unless the user has registered one of that name."""
    helper = model_registry._ModelRegistryHelper
    if helper._ModelParamsClassKey(declaration) not in helper._MODEL_PARAMS:
        model_registry.RegisterSingleTaskModel(declaration)
    return declaration


@_register
class Librispeech960Base(base_model_params.SingleTaskModelParams):  # type: ignore[misc]
    """The part common to both recognisers: listener, two-layer speller, Adam, variational noise from step 20000."""

    DATADIR = "/tmp/librispeech"

    def Train(self) -> Any:  # noqa: N802
        """Return the input of training."""
        return self._input("train/train.tfrecords-*", 281241, evaluation=False)

    def Dev(self) -> Any:  # noqa: N802
        """Return the input "dev-clean"."""
        return self._input("devtest/dev-clean.tfrecords-00000-of-00001", 2703, evaluation=True)

    def Devother(self) -> Any:  # noqa: N802
        """Return the input "dev-other"."""
        return self._input("devtest/dev-other.tfrecords-00000-of-00001", 2864, evaluation=True)

    def Test(self) -> Any:  # noqa: N802
        """Return the input "test-clean"."""
        return self._input("devtest/test-clean.tfrecords-00000-of-00001", 2620, evaluation=True)

    def Testother(self) -> Any:  # noqa: N802
        """Return the input "test-other"."""
        return self._input("devtest/test-other.tfrecords-00000-of-00001", 2939, evaluation=True)

    def _input(self, files: str, samples: int, *, evaluation: bool) -> Any:
        last = _LAST_EVALUATION_BUCKET if evaluation else _LAST_TRAINING_BUCKET
        return input_generator.AsrInput.Params().Set(
            file_pattern=f"tfrecord:{self.DATADIR}/{files}",
            num_samples=samples,
            frame_size=80,
            append_eos_frame=True,
            source_max_length=3600 if evaluation else 3000,
            pad_to_max_seq_length=False,
            file_random_seed=0,
            file_buffer_size=10000,
            file_parallelism=16,
            bucket_upper_bound=[*_BUCKETS, last],
            bucket_batch_limit=list(_BATCHES),
        )

    def Task(self) -> Any:  # noqa: N802
        """Return the parameters of the network and of its training."""
        task = model.AsrModel.Params().Set(name="librispeech")
        task.encoder.Set(
            input_shape=[None, None, 80, 1],
            conv_filter_shapes=[(3, 3, 1, 32), (3, 3, 32, 32)],
            conv_filter_strides=[(2, 2), (2, 2)],
            num_conv_lstm_layers=0,
            num_lstm_layers=4,
            lstm_cell_size=1024,
        )
        task.encoder.cnn_tpl.params_init = py_utils.WeightInit.Gaussian(0.001)
        task.decoder.Set(rnn_cell_dim=1024, rnn_layers=2, source_dim=2048, use_while_loop_based_unrolling=False)
        task.train.Set(learning_rate=2.5e-4, vn_std=0.075, vn_start_step=20000)
        task.train.lr_schedule = schedule.ContinuousSchedule.Params().Set(
            start_step=50000, half_life_steps=100000, min=0.01
        )
        task.vn.global_vn = True
        task.eval.Set(samples_per_summary=5000, decoder_samples_per_summary=0)
        return task


class _Tokens(Librispeech960Base):
    """A recogniser over one alphabet: ids 0 unknown, 1 start, 2 end."""

    SIZE: int
    LONGEST: int
    EMBEDDING: int

    def _tokenizer(self) -> Any:
        raise NotImplementedError

    def _input(self, files: str, samples: int, *, evaluation: bool) -> Any:
        data = super()._input(files, samples, evaluation=evaluation)
        data.tokenizer = self._tokenizer().Set(
            vocab_size=self.SIZE, append_eos=True, target_unk_id=0, target_sos_id=1, target_eos_id=2
        )
        data.target_max_length = self.LONGEST
        return data

    def Task(self) -> Any:  # noqa: N802
        """Return the parameters of the network and of its training."""
        task = super().Task()
        task.decoder.Set(target_seq_len=self.LONGEST, emb_dim=self.EMBEDDING)
        task.decoder.emb.vocab_size = self.SIZE
        task.decoder.softmax.num_classes = self.SIZE
        return task


@_register
class Librispeech960Grapheme(_Tokens):
    """Characters: 76 classes, at most 620 label positions."""

    SIZE = 76
    LONGEST = 620
    EMBEDDING = 76

    def _tokenizer(self) -> Any:
        return tokenizers.AsciiTokenizer.Params()


@_register
class Librispeech960Wpm(_Tokens):
    """Word pieces: 16328 classes, at most 140 label positions, embeddings on up to eight parameter servers."""

    SIZE = 16328
    LONGEST = 140
    EMBEDDING = 96
    SHARDS = 8
    #: lingvo's own file, which its wheels do not contain.
    VOCABULARY = "lingvo/tasks/asr/wpm_16k_librispeech.vocab"

    def _tokenizer(self) -> Any:
        return tokenizers.WpmTokenizer.Params().Set(vocab_filepath=self.VOCABULARY)

    def Task(self) -> Any:  # noqa: N802
        """Return the parameters of the network and of its training."""
        task = super().Task()
        task.decoder.emb.max_num_shards = self.SHARDS
        return task
