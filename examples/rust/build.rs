fn main() {
    kiln_build::model("../../tests/models/seed_cifar10/wm_025_aug_float.onnx")
        .name("cifar10")
        .with(|compiler| compiler.dim("unk__130", 1))
        .compile();
}
