//! The application with mocked pins, buses and delays: what it writes, and what it does when one of them fails.

mod common;

use common::{Echo, Script, decision};
use edgepack_firmware::edgepack_core::{InputData, OutputData};
use edgepack_firmware::{
    Error, Inference, Level, Report, Sensor, Signal, Source, Watch, Window, WindowError,
};
use embedded_hal::i2c::I2c;
use embedded_hal::spi::{Operation, SpiDevice};
use embedded_hal_mock::eh1::MockError;
use embedded_hal_mock::eh1::delay::{CheckedDelay, Transaction as Wait};
use embedded_hal_mock::eh1::digital::{Mock as Pin, State, Transaction as Write};
use embedded_hal_mock::eh1::i2c::{Mock as Bus, Transaction as Transfer};
use embedded_hal_mock::eh1::spi::{Mock as Spi, Transaction as Exchange};

fn high() -> Write {
    Write::set(State::High)
}

fn low() -> Write {
    Write::set(State::Low)
}

fn broken() -> MockError {
    MockError::Io(std::io::ErrorKind::BrokenPipe)
}

type Frames<'b> = Watch<'b, f32, Script, Echo, Pin>;

fn watch<'b>(frames: Script, pin: &[Write], sample: &'b mut [f32]) -> Frames<'b> {
    let signal = Signal::new(Pin::new(pin), Level::ActiveHigh);
    Watch::new(frames, Echo::default(), signal, (1, decision(0.6, 0.4, 2, 3)), sample)
}

fn all(watch: &mut Frames) -> Vec<Report> {
    std::iter::from_fn(|| watch.step().unwrap()).collect()
}

fn done(watch: Frames) {
    watch.release().2.done();
}

#[test]
fn the_pin_is_written_when_the_decision_changes() {
    let mut sample = [0.0];
    let scores = [0.1, 0.9, 0.5, 0.5, 0.1, 0.1, 0.1];
    let mut watch = watch(Script::scores(&scores), &[low(), high(), low()], &mut sample);
    let reports = all(&mut watch);
    assert_eq!(reports.iter().map(|r| r.score).collect::<Vec<_>>(), scores);
    assert_eq!(
        reports.iter().map(|r| r.seen).collect::<Vec<_>>(),
        [false, true, true, true, false, false, false]
    );
    assert_eq!(
        reports.iter().map(|r| r.on).collect::<Vec<_>>(),
        [false, false, true, true, true, false, false]
    );
    // The first one is a change, too: nobody knew what the pin was.
    assert_eq!(
        reports.iter().map(|r| r.changed).collect::<Vec<_>>(),
        [true, false, true, false, false, true, false]
    );
    let top: Vec<_> = reports[1].top.iter().map(|one| one.class).collect();
    assert_eq!(top, [1, 0]);
    done(watch);
}

#[test]
fn a_pin_that_is_active_low_is_inverted() {
    let mut signal = Signal::new(Pin::new(&[high(), low()]), Level::ActiveLow);
    assert_eq!(signal.set(false), Ok(true));
    assert_eq!(signal.set(false), Ok(false));
    assert_eq!(signal.set(true), Ok(true));
    assert_eq!(signal.state(), Some(true));
    signal.release().done();
}

#[test]
fn the_end_of_the_frames_turns_the_pin_off() {
    let mut sample = [0.0];
    let mut watch = watch(Script::scores(&[0.9, 0.9]), &[low(), high(), low()], &mut sample);
    assert!(all(&mut watch)[1].on);
    assert_eq!(watch.signal().state(), Some(false));
    watch.stop().unwrap();
    done(watch);
}

#[test]
fn an_error_of_the_source_turns_the_pin_off_and_the_next_frame_counts_anew() {
    let mut sample = [0.0];
    let frames =
        Script::of(&[Ok(Some(0.9)), Ok(Some(0.9)), Err("unplugged"), Ok(Some(0.9)), Ok(Some(0.9)), Ok(None)]);
    let mut watch = watch(frames, &[low(), high(), low(), high(), low()], &mut sample);
    assert!(!watch.step().unwrap().unwrap().on);
    assert!(watch.step().unwrap().unwrap().on);
    assert_eq!(watch.step(), Err(Error::Source("unplugged")));
    assert_eq!(watch.signal().state(), Some(false));
    // One frame of two: what was seen before the gap does not count.
    assert!(!watch.step().unwrap().unwrap().on);
    assert!(watch.step().unwrap().unwrap().on);
    assert_eq!(watch.step(), Ok(None));
    done(watch);
}

#[test]
fn an_error_of_the_model_turns_the_pin_off() {
    let mut sample = [0.0];
    let mut watch = watch(Script::scores(&[0.9, 0.9, -1.0]), &[low(), high(), low()], &mut sample);
    watch.step().unwrap();
    watch.step().unwrap();
    assert_eq!(watch.step(), Err(Error::Model("negative")));
    done(watch);
    // A sample that is not as long as the model's input.
    let mut sample = [0.0; 2];
    let mut watch = self::watch(Script::scores(&[0.9]), &[low()], &mut sample);
    assert_eq!(watch.step(), Err(Error::Model("not one number")));
    done(watch);
}

#[test]
fn an_error_of_the_pin_is_told_and_it_is_written_again() {
    let mut sample = [0.0];
    // On fails, and so does the way back to off; then all is well.
    let pin = [low(), high().with_error(broken()), low().with_error(broken()), low(), high(), low()];
    let frames = Script::scores(&[0.9, 0.9, 0.9, 0.9]);
    let mut watch = watch(frames, &pin, &mut sample);
    watch.step().unwrap();
    let error = watch.step().unwrap_err();
    assert_eq!(error, Error::Pin(broken()));
    assert!(error.to_string().contains("BrokenPipe"), "{error}");
    assert_eq!(watch.signal().state(), None);
    let report = watch.step().unwrap().unwrap();
    assert!(report.changed && !report.on);
    assert!(watch.step().unwrap().unwrap().on);
    assert_eq!(watch.step(), Ok(None));
    done(watch);
}

#[test]
fn at_the_end_a_pin_that_stays_on_is_an_error() {
    let mut sample = [0.0];
    let pin = [low(), high(), low().with_error(broken())];
    let mut watch = watch(Script::scores(&[0.9, 0.9]), &pin, &mut sample);
    watch.step().unwrap();
    watch.step().unwrap();
    assert_eq!(watch.step(), Err(Error::Pin(broken())));
    done(watch);
}

#[test]
fn a_class_that_the_model_has_not_is_an_error() {
    let mut sample = [0.0];
    let signal = Signal::new(Pin::new(&[low()]), Level::ActiveHigh);
    let part = (2, decision(0.6, 0.4, 1, 1));
    let mut watch = Watch::new(Script::scores(&[0.9]), Echo::default(), signal, part, &mut sample[..]);
    assert_eq!(watch.step(), Err(Error::Class { class: 2, classes: 2 }));
    watch.release().2.done();
}

/// An accelerometer on a bus, as a driver has it: a LIS3DH at ±2 g with 12 bits (ST, DocID17530: registers
/// OUT_X_L to OUT_Z_H from 0x28 on, the address with its top bit for the ones that follow).
struct Accelerometer<B>(B);

const ADDRESS: u8 = 0x18;

impl<B: I2c> Sensor<3> for Accelerometer<B> {
    type Error = B::Error;

    fn measure(&mut self) -> Result<[f32; 3], B::Error> {
        let mut bytes = [0; 6];
        self.0.write_read(ADDRESS, &[0x28 | 0x80], &mut bytes)?;
        Ok(axes(bytes))
    }
}

/// The same one on SPI (ST, DocID17530, 6.2): in the first byte, the top bit is to read, the next for the registers that
/// follow.
struct SpiAccelerometer<D>(D);

impl<D: SpiDevice> Sensor<3> for SpiAccelerometer<D> {
    type Error = D::Error;

    fn measure(&mut self) -> Result<[f32; 3], D::Error> {
        let mut bytes = [0; 6];
        self.0.transaction(&mut [Operation::Write(&[0x28 | 0xc0]), Operation::Read(&mut bytes)])?;
        Ok(axes(bytes))
    }
}

/// Left-justified; 1 mg for each of the 12 bits.
fn axes(bytes: [u8; 6]) -> [f32; 3] {
    let axis = |at: usize| f32::from(i16::from_le_bytes([bytes[at], bytes[at + 1]]) >> 4) / 1000.0;
    [axis(0), axis(2), axis(4)]
}

fn waits(count: usize, ns: u32) -> CheckedDelay {
    CheckedDelay::new(&vec![Wait::delay_ns(ns); count])
}

fn registers(mg: [i16; 3]) -> Vec<u8> {
    mg.iter().flat_map(|axis| (axis << 4).to_le_bytes()).collect()
}

fn measured(mg: [i16; 3]) -> Transfer {
    Transfer::write_read(ADDRESS, vec![0xa8], registers(mg))
}

#[test]
fn a_window_slides_over_the_measurements_of_a_sensor() {
    let g = |i: i16| [i, -i, 1000];
    let row = |i: i16| [f32::from(i) / 1000.0, f32::from(-i) / 1000.0, 1.0];
    let bus = Bus::new(&(0..6).map(|i| measured(g(i))).collect::<Vec<_>>());
    let delay = waits(6, 10_000_000);
    let mut window = Window::<_, _, 3, 4>::new(Accelerometer(bus), delay, 10_000_000, 2);
    let mut sample = [0.0; 12];
    assert_eq!(window.read(&mut sample), Ok(true));
    assert_eq!(sample, [row(0), row(1), row(2), row(3)].concat()[..]);
    assert_eq!(window.read(&mut sample), Ok(true));
    assert_eq!(sample, [row(2), row(3), row(4), row(5)].concat()[..]);
    assert_eq!(window.read(&mut [0.0; 11]), Err(WindowError::Length { needed: 12, given: 11 }));
    let (mut sensor, mut delay) = window.release();
    sensor.0.done();
    delay.done();
}

#[test]
fn a_sensor_on_spi_is_one_like_any_other() {
    let exchange = |mg: [i16; 3]| {
        let transfers = [Exchange::write(0xe8), Exchange::read_vec(registers(mg))];
        [vec![Exchange::transaction_start()], transfers.into(), vec![Exchange::transaction_end()]].concat()
    };
    let bus = Spi::new(&[exchange([1, -2, 1000]), exchange([3, -4, 2000])].concat());
    let mut window = Window::<_, _, 3, 2>::new(SpiAccelerometer(bus), waits(2, 5), 5, 1);
    let mut sample = [0.0; 6];
    assert_eq!(window.read(&mut sample), Ok(true));
    assert_eq!(sample, [0.001, -0.002, 1.0, 0.003, -0.004, 2.0]);
    let (mut sensor, mut delay) = window.release();
    sensor.0.done();
    delay.done();
}

#[test]
fn a_window_has_no_gap_where_a_sensor_failed() {
    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    let lost = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
    let transfers = [0, 1, 9, 2, 3].map(|i| match i {
        9 => measured([0; 3]).with_error(lost),
        i => measured([i; 3]),
    });
    let mut bus = Bus::new(&transfers);
    let mut pin = Pin::new(&[low()]);
    let window = Window::<_, _, 3, 2>::new(Accelerometer(bus.clone()), waits(5, 5), 5, 1);
    /// The oldest number of a window.
    struct Oldest([f32; 1]);
    impl Inference for Oldest {
        type Error = ();
        fn infer(&mut self, sample: InputData<'_>) -> Result<OutputData<'_>, ()> {
            let InputData::F32(values) = sample else { return Err(()) };
            self.0 = [values[0]];
            Ok(OutputData::F32(&self.0))
        }
    }
    let mut sample = [0.0; 6];
    let signal = Signal::new(pin.clone(), Level::ActiveHigh);
    let part = (0, decision(0.6, 0.4, 1, 1));
    let mut watch = Watch::new(window, Oldest([0.0]), signal, part, &mut sample[..]);
    assert_eq!(watch.step().unwrap().unwrap().score, 0.0);
    assert!(matches!(watch.step(), Err(Error::Source(WindowError::Sensor(kind))) if kind == lost));
    // Both measurements are of after the error.
    assert_eq!(watch.step().unwrap().unwrap().score, 0.002);
    let (window, ..) = watch.release();
    window.release().1.done();
    pin.done();
    bus.done();
}
