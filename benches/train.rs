//! How fast a network learns: forward and backward over windows of 10 steps in batches of 32, 50 units. Best of ten
//! rounds, in windows per second on one thread.

use std::time::{Duration, Instant};

use kolk::kernel::CellKind;
use kolk::kernel::recurrent::Mask;
use kolk::network::{Architecture, Layer};
use kolk::train::{Network, Pass, Workspace};

const STEPS: usize = 10;
const BATCH: usize = 32;
const UPDATES: usize = 50;

fn architecture(cell: CellKind) -> Architecture {
    Architecture {
        features: 1,
        network: vec![0],
        skip: Vec::new(),
        groups: 0,
        residual: Vec::new(),
        layers: vec![Layer::recurrent(cell, 50)],
        outputs: 1,
        scaling: false,
        pool: Default::default(),
        softmax: false,
    }
}

fn main() {
    let x: Vec<f32> = (0..STEPS * BATCH).map(|i| (i as f32 * 0.37).sin()).collect();
    for cell in [CellKind::RnnTanh, CellKind::Gru, CellKind::Lstm] {
        let network: Network<f32> = Network::new(&architecture(cell), 1);
        let pass = Pass { t: STEPS, b: BATCH, x: &x, mask: Mask::default(), group: &[], last_only: true };
        let mut work = Workspace::default();
        let mut gradients = vec![0.0; network.parameters().len()];
        let mut best = [Duration::MAX; 2];
        for _ in 0..10 {
            let mut took = [Duration::ZERO; 2];
            for _ in 0..UPDATES {
                let start = Instant::now();
                let y = network.forward(pass, &mut network.zero_state(BATCH), &mut work);
                let d_out: Vec<f32> = y.iter().map(|y| y - 0.5).collect();
                let forward = start.elapsed();
                network.backward(pass, &d_out, &mut work, &mut gradients);
                took[0] += forward;
                took[1] += start.elapsed();
            }
            best = [best[0].min(took[0]), best[1].min(took[1])];
        }
        let [forward, both] = best.map(|time| (UPDATES * BATCH) as f64 / time.as_secs_f64());
        println!("{cell:?}: forward {forward:.0} windows/s, with backward {both:.0} windows/s");
    }
}
