//! One guest's life: requests in, replies out, registers in between. No I/O.

use crate::frame::Frame;
use crate::measure::{FirmwareEvent, LaunchMeasurement};
use crate::quote::Quoter;
use crate::registers::{Register, Registers};
use crate::request::{Request, RequestError, reply};

/// What a request led to.
#[derive(Debug)]
pub struct Outcome {
    /// Goes back to the driver.
    pub reply: Frame,
    /// What to tell, and keep.
    pub news: News,
}

/// What happened, beside the reply.
#[derive(Debug)]
pub enum News {
    /// Nothing that anybody need know.
    None,
    /// The guest started, or started again; these are its firmware's measurements.
    Started(Vec<FirmwareEvent>),
    /// A register has a new value.
    Extended {
        /// 2 or 3.
        index: usize,
        /// By which digest.
        digest: Register,
    },
    /// A quote was made.
    Quoted,
    /// The request was refused.
    Refused(RequestError),
}

/// The state of one virtual machine.
#[derive(Debug)]
pub struct Session {
    launch: LaunchMeasurement,
    mrconfigid: Register,
    quoter: Quoter,
    registers: Option<Registers>,
}

impl Session {
    /// A machine whose guest has not spoken yet.
    pub fn new(launch: LaunchMeasurement, mrconfigid: Register, quoter: Quoter) -> Self {
        Self { launch, mrconfigid, quoter, registers: None }
    }

    /// Answers one frame.
    pub fn answer(&mut self, frame: &Frame) -> Outcome {
        let answered = Request::parse(frame).and_then(|request| self.perform(request));
        match answered {
            Ok((payload, news)) => Outcome { reply: reply(frame.opcode, payload), news },
            Err(error) => Outcome { reply: error.reply(), news: News::Refused(error) },
        }
    }

    fn perform(&mut self, request: Request) -> Result<(Vec<u8>, News), RequestError> {
        if let Request::Hello(blobs) = request {
            let events = self.launch.events(&blobs);
            let mut registers = Registers::new(self.launch.mrtd, self.mrconfigid);
            for event in &events {
                registers.extend(event.register, &event.digest);
            }
            let encoded = registers.encode();
            self.registers = Some(registers);
            return Ok((encoded, News::Started(events)));
        }
        let registers = self.registers.as_mut().ok_or(RequestError::NoHello)?;
        Ok(match request {
            Request::Hello(_) | Request::Read => (registers.encode(), News::None),
            Request::Extend { index, digest } => {
                (registers.extend(index, &digest).to_vec(), News::Extended { index, digest })
            }
            Request::Quote(report_data) => {
                (self.quoter.quote(registers, &report_data), News::Quoted)
            }
        })
    }
}
