//! How fast a network learns: whole training steps (forward, loss, backward, Adam) of windows whose last step has an
//! output.
//!
//! For each line `cell units inputs steps batch threads seconds` on stdin it prints samples per second and samples per
//! CPU second; for `sgemm size threads seconds` the rate of a matrix product on one thread in GFLOP/s.
//! `benches/peers/compare.py` asks it and PyTorch in turn (`--ask`). Otherwise all shapes once on one thread; with
//! `--classes` the output layer of thousands of classes instead: what its three matrix products take, and what the
//! softmax with its loss and gradient takes beside them.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use kolk::config::{self, EpsilonForm, Loss};
use kolk::kernel::dense::Dense;
use kolk::kernel::gemm::{Existing, Matrix, multiply, multiply_rows};
use kolk::kernel::recurrent::Mask;
use kolk::kernel::threads::Threads;
use kolk::kernel::{Activation, CellKind};
use kolk::network::{Architecture, Layer};
use kolk::train::loss::{cross_entropy, loss};
use kolk::train::optimizer::Adam;
use kolk::train::{Network, Pass, State, Workspace};

/// Cell, units, inputs, timesteps, batch: those of the table in docs/results.md.
const SHAPES: [(&str, [usize; 4]); 7] = [
    ("lstm", [50, 1, 10, 32]),
    ("gru", [50, 1, 10, 32]),
    ("rnn", [50, 1, 10, 32]),
    ("lstm", [50, 1, 10, 256]),
    ("gru", [50, 1, 10, 256]),
    ("rnn", [50, 1, 10, 256]),
    ("lstm", [128, 8, 64, 32]),
];

/// CPU time of all threads of this process.
fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let used = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(used.sum())
}

/// Samples per second, and per second of CPU time.
fn train(cell: &str, [units, inputs, steps, batch]: [usize; 4], threads: usize, seconds: f64) -> (f64, f64) {
    let cell = match cell {
        "lstm" => CellKind::Lstm,
        "gru" => CellKind::Gru,
        "rnn" => CellKind::RnnTanh,
        other => panic!("unknown cell {other}"),
    };
    let architecture = Architecture {
        features: inputs,
        network: (0..inputs).collect(),
        skip: Vec::new(),
        groups: 0,
        embeddings: vec![],
        residual: Vec::new(),
        layers: vec![Layer::recurrent(cell, units)],
        outputs: 1,
        scaling: false,
        pool: Default::default(),
        softmax: false,
        quantiles: Vec::new(),
        members: 1,
        patch: 1,
        segments: 0,
        centred: vec![],
    };
    let x: Vec<f32> = (0..steps * batch * inputs).map(|i| (i as f32 * 0.37).sin()).collect();
    let (wanted, weight) = (vec![0.5; batch], vec![1.0; batch]);
    let mut network: Network<f32> = Network::new(&architecture, 1);
    let settings = config::Adam { epsilon_form: EpsilonForm::Torch, ..config::Adam::DEFAULT };
    let mut adam = Adam::new(settings, network.parameters().len());
    let threads = Threads::new(threads);
    let mut work = Workspace::on(&threads);
    let (mut state, mut d_out, mut gradients) = (State::default(), Vec::new(), vec![0.0; network.parameters().len()]);
    let pass = Pass { t: steps, b: batch, x: &x, mask: Mask::default(), group: &[], ids: &[], last_only: true };
    let mut update = || {
        network.clear_state(batch, &mut state);
        let y = network.forward(pass, &mut state, &mut work);
        loss(Loss::Mse, y, &wanted, &weight, &mut d_out);
        network.backward(pass, &d_out, &mut work, &mut gradients);
        adam.update(&threads, network.parameters_mut(), &gradients);
    };
    (0..3).for_each(|_| update());
    let (started, cpu, mut updates) = (Instant::now(), cpu_time(), 0);
    while started.elapsed().as_secs_f64() < seconds {
        (0..5).for_each(|_| update());
        updates += 5;
    }
    let samples = (updates * batch) as f64;
    (samples / started.elapsed().as_secs_f64(), samples / (cpu_time() - cpu).as_secs_f64())
}

/// GFLOP/s of the best product of two square matrices.
fn sgemm(size: usize, seconds: f64) -> f64 {
    let (a, b) = (vec![0.5_f32; size * size], vec![0.25_f32; size * size]);
    let mut out = vec![0.0_f32; size * size];
    let (started, mut best) = (Instant::now(), f64::MAX);
    while started.elapsed().as_secs_f64() < seconds {
        let before = Instant::now();
        multiply(&mut out, Matrix::new(&a, size, size), Matrix::new(&b, size, size), Existing::Replace);
        best = best.min(before.elapsed().as_secs_f64());
    }
    2.0 * (size * size * size) as f64 / best / 1e9
}

/// Units below the output layer, classes, rows of an update.
const CLASSES: [[usize; 3]; 4] = [[64, 1_000, 512], [64, 5_000, 512], [64, 20_000, 512], [256, 20_000, 512]];

/// The least milliseconds of several runs.
fn least(mut run: impl FnMut()) -> f64 {
    run();
    let one = |_| {
        let before = Instant::now();
        run();
        before.elapsed().as_secs_f64() * 1e3
    };
    (0..15).map(one).fold(f64::MAX, f64::min)
}

/// Milliseconds of the products of an output layer and its gradients, of the softmax with loss and gradient, and of the
/// whole: layer, loss, gradients.
fn classes([units, classes, rows]: [usize; 3]) -> [f64; 3] {
    let numbers = |count: usize, by: f32| (0..count).map(|at| (at as f32 * by).sin()).collect::<Vec<f32>>();
    let (x, kernel, bias) = (numbers(rows * units, 0.37), numbers(units * classes, 0.11), numbers(classes, 0.7));
    let wanted: Vec<f32> = (0..rows).map(|row| (row * 31 % classes) as f32).collect();
    let weight = vec![1.0; rows];
    let layer = Dense { inputs: units, units: classes, activation: Activation::Linear, kernel: &kernel, bias: &bias };
    let (mut y, mut d) = (Vec::new(), Vec::new());
    layer.forward(&x, rows, &mut y);
    let softmax = least(|| {
        cross_entropy(&y, classes, &wanted, &weight, &mut d);
    });
    let (mut out, mut d_kernel, mut d_bias) = (y.clone(), vec![0.0; units * classes], vec![0.0; classes]);
    let mut d_x = vec![0.0; rows * units];
    let (of_x, of_kernel) = (Matrix::new(&x, rows, units), Matrix::new(&kernel, units, classes));
    let products = least(|| {
        multiply_rows(&mut out, of_x, of_kernel, Existing::Replace);
        let of_d = Matrix::new(&d, rows, classes);
        multiply(&mut d_kernel, of_x.t(), of_d, Existing::Add);
        multiply(&mut d_x, of_d, of_kernel.t(), Existing::Replace);
    });
    let all = least(|| {
        layer.forward(&x, rows, &mut y);
        cross_entropy(&y, classes, &wanted, &weight, &mut d);
        layer.backward(&x, rows, &y, &mut d, [&mut d_kernel, &mut d_bias], &mut d_x);
    });
    [products, softmax, all]
}

fn main() {
    if std::env::args().any(|argument| argument == "--classes") {
        println!("milliseconds on one thread: three products; softmax, loss and gradient; the whole output layer");
        for shape in CLASSES {
            let [products, softmax, all] = classes(shape);
            println!(
                "{shape:?}: {products:.2}; {softmax:.2}, {:.0} % of the products; {all:.2}, products {:.0} % of it",
                100.0 * softmax / products,
                100.0 * products / all
            );
        }
        return;
    }
    let stdin = std::io::stdin();
    if !std::env::args().any(|argument| argument == "--ask") {
        for (cell, shape) in SHAPES {
            let best = (0..5).map(|_| train(cell, shape, 1, 0.3).1).fold(0.0, f64::max);
            println!("{cell}({}) {shape:?}: {best:.0} samples per CPU second", shape[0]);
        }
        return;
    }
    println!("kolk");
    for line in stdin.lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let seconds: f64 = words.last().and_then(|word| word.parse().ok()).unwrap_or(0.5);
        let numbers: Vec<usize> = words[1..].iter().filter_map(|word| word.parse().ok()).collect();
        let (found, cpu) = match words[0] {
            "sgemm" => (sgemm(numbers[0], seconds), 0.0),
            cell => train(cell, [numbers[0], numbers[1], numbers[2], numbers[3]], numbers[4], seconds),
        };
        println!("{found} {cpu}");
        std::io::stdout().flush().ok();
    }
}
