//! Examples at the end of each subcommand's help.

/// Of `kiln` itself.
pub(super) const KILN: &str = "\
Start with:
  kiln inspect model.onnx          what is in it, and what of it is unsupported
  kiln bench model.onnx            how fast it runs on this machine
  kiln compile model.onnx -o out   out/libmodel.a and out/model.h

Exit codes: 0 done, 1 the answer is no or the machine has no space or memory, 2 wrong usage,
3 invalid model or input, 4 unsupported, 5 a bug of kiln.";

pub(super) const COMPILE: &str = "\
Examples:
  kiln compile model.onnx -o out
  kiln compile model.onnx -o out --cpu baseline,avx2,avx512
  kiln compile model.onnx -o out --target arm64-apple-darwin --dim batch=1
  kiln compile model.onnx -o out --emit c,report --target thumbv7em-none-eabihf
  curl -s https://example.org/model.onnx | kiln compile - -o out --name model";

pub(super) const RUN: &str = "\
Examples:
  kiln run model.onnx --input x=x.npy --output-dir out
  kiln run model.onnx --inputs all.npz
  kiln run model.onnx --input x=random:1 --input mask=mask.pb";

pub(super) const CHECK: &str = "\
Examples:
  kiln check model_dir
  kiln check onnx/backend/test/data/node/test_* --bind-inputs
  kiln check model_dir --rtol 1e-4 --json";

pub(super) const BENCH: &str = "\
Examples:
  kiln bench model.onnx --threads 1
  kiln bench model.onnx --dim batch=8 --profile
  kiln bench model.onnx --tune";

pub(super) const REPL: &str = "\
Examples:
  kiln repl model.onnx
  kiln repl --cache ~/.cache/kiln/models model.onnx
  kiln repl --script session.kiln --keep-going
  echo 'Softmax([1.0, 2.0])' | kiln repl";

pub(super) const INSPECT: &str = "\
Examples:
  kiln inspect model.onnx
  kiln inspect model.onnx --dim batch=8      multiplications for that size
  kiln inspect model.onnx --verbose          every unsupported node by name";

pub(super) const EXPLAIN: &str = "\
Examples:
  kiln explain model.onnx
  kiln explain model.onnx --cpu avx2
  kiln explain model.onnx | grep 'plain loops'";

pub(super) const DUMP: &str = "\
Examples:
  kiln dump model.onnx --stage kernel
  kiln dump model.onnx --stage graph --print-changed
  kiln dump model.onnx --stage import --dot | dot -Tsvg -o model.svg";

pub(super) const QUANTIZE: &str = "\
Examples:
  kiln quantize model.onnx -o int8.onnx --calibrate samples.npz
  kiln quantize model.onnx -o int8.onnx --calibrate photos \\
      --image-mean 123.7,116.3,103.5 --image-std 58.4,57.1,57.4 --resize 224x224
  kiln quantize model.onnx -o int8.onnx --calibrate photos --labels labels.txt \\
      --keep-float auto --target-drop 0.5
  kiln quantize model.onnx -o int8.onnx --calibrate samples.npz --for avx2
  kiln quantize model.onnx -o int8.onnx --dynamic

The file is standard ONNX: QuantizeLinear and DequantizeLinear around what computes with integers,
or with --dynamic DynamicQuantizeLinear, MatMulInteger and ConvInteger. Activations are unsigned, with
a scale and a zero point; weights are signed, with a scale for each channel.

Exit codes: 1 where --target-error or --target-drop is not met; the file is written then too.";

pub(super) const PRUNE: &str = "\
Examples:
  kiln prune model.onnx -o sparse.onnx --sparsity 0.8 --block 4x1 --calibrate samples.npz
  kiln prune model.onnx -o sparse.onnx --nm 2:4 --calibrate photos \\
      --image-mean 127,127,127 --image-std 128,128,128 --labels labels.txt
  kiln prune model.onnx -o sparse.onnx --sparsity 0.9 --calibrate samples.npz \\
      --budget global --schedule cubic --steps 4 --layers 'head*=0,*conv1*=0.5'
  kiln prune model.onnx -o small.onnx --channels --sparsity 0.25 --calibrate samples.npz
  kiln prune model.onnx -o sparse.onnx --sparsity 0.5

The file is standard ONNX, the one that was given but for constants, with zeros among the weights; with
--channels the layers themselves are smaller. --sparsity is the part of the weights of the layers that are
pruned. First layers that read few channels, depthwise ones and those that give the model's result are left
alone, unless a pattern of --layers fits their names.

Without data weights go by their size alone. --budget time looks for the least error among all models that
are no slower on this machine than one with the same part of every layer removed.";

pub(super) const REPORT: &str = "\
Examples:
  kiln report out/model.report.json
  kiln report before/model.report.json after/model.report.json

`kiln compile` writes the same as a page with pictures where html is among what it is to write.";

pub(super) const LIST: &str = "\
Examples:
  kiln list ops
  kiln list ops --markdown
  kiln list targets --json";
