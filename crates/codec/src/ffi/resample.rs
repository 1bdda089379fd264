//! libswresample on planar floats: sample rate, and down-mix by its standard matrix.

use std::ffi::{CString, c_int, c_void};
use std::ptr::{self, NonNull};

use ffmpeg_next::Error;
use ffmpeg_next::ffi;

use crate::pcm::PcmFormat;

/// Converts blocks of one format to blocks of another.
pub(crate) struct Resampler {
    context: NonNull<ffi::SwrContext>,
    inputs: usize,
    outputs: usize,
}

// SAFETY: a SwrContext is a heap object without thread affinity (libswresample keeps no
// thread-local state), and `Resampler` is its only owner.
unsafe impl Send for Resampler {}

impl Resampler {
    /// Both formats must have a channel mask. The matrix is scaled so that no down-mix can exceed
    /// full scale.
    pub(crate) fn new(from: PcmFormat, to: PcmFormat) -> Result<Self, Error> {
        // SAFETY: takes no arguments; the result is checked.
        let context =
            NonNull::new(unsafe { ffi::swr_alloc() }).ok_or(Error::Other { errno: ffi::ENOMEM })?;
        let resampler = Self {
            context,
            inputs: from.layout.channels as usize,
            outputs: to.layout.channels as usize,
        };
        for (name, value) in [
            (c"in_chlayout", format!("{:#x}", from.layout.mask)),
            (c"out_chlayout", format!("{:#x}", to.layout.mask)),
            (c"in_sample_rate", from.rate.hz().to_string()),
            (c"out_sample_rate", to.rate.hz().to_string()),
            (c"in_sample_fmt", "fltp".to_owned()),
            (c"out_sample_fmt", "fltp".to_owned()),
            (c"rematrix_maxval", "1".to_owned()),
        ] {
            let value = CString::new(value).map_err(|_| Error::Bug)?;
            // SAFETY: a SwrContext starts with its AVClass, as `av_opt_set` demands; name and
            // value are NUL-terminated and copied.
            check(unsafe {
                ffi::av_opt_set(context.as_ptr().cast::<c_void>(), name.as_ptr(), value.as_ptr(), 0)
            })?;
        }
        // SAFETY: the context is allocated and has its options.
        check(unsafe { ffi::swr_init(context.as_ptr()) })?;
        Ok(resampler)
    }

    /// Converts `input` (one slice per channel, equal lengths), or with `None` what is left inside,
    /// and appends to `output`, which has one `Vec` per channel.
    ///
    /// # Panics
    /// If the numbers of planes are not those of the formats, or their lengths differ.
    pub(crate) fn convert(
        &mut self,
        input: Option<&[Vec<f32>]>,
        output: &mut [Vec<f32>],
    ) -> Result<(), Error> {
        let input_len = input.map_or(0, |planes| planes[0].len());
        let input_samples = c_int::try_from(input_len).map_err(|_| Error::Bug)?;
        assert_eq!(output.len(), self.outputs);
        assert!(input.is_none_or(|planes| {
            planes.len() == self.inputs && planes.iter().all(|plane| plane.len() == input_len)
        }));

        // SAFETY: the context is initialised.
        let room =
            check(unsafe { ffi::swr_get_out_samples(self.context.as_ptr(), input_samples) })?;
        let room = room as usize;
        let mut targets: Vec<*mut u8> = output
            .iter_mut()
            .map(|plane| {
                plane.reserve(room);
                plane.spare_capacity_mut().as_mut_ptr().cast()
            })
            .collect();
        let mut sources: Vec<*const u8> =
            input.unwrap_or_default().iter().map(|plane| plane.as_ptr().cast()).collect();
        let source = if input.is_some() { sources.as_mut_ptr() } else { ptr::null_mut() };
        // SAFETY: `targets` has one pointer per output channel, each with room for `room` floats
        // (reserved above, not touched since); `source` is null, which flushes, or has one pointer
        // per input channel, each to `input_samples` floats (asserted above).
        let written = check(unsafe {
            ffi::swr_convert(
                self.context.as_ptr(),
                targets.as_mut_ptr(),
                room as c_int,
                source,
                input_samples,
            )
        })? as usize;
        assert!(written <= room, "libswresample wrote past its buffer");
        for plane in output {
            let len = plane.len() + written;
            // SAFETY: swr_convert initialised `written` floats after the old length, within the
            // reserved room.
            unsafe { plane.set_len(len) };
        }
        Ok(())
    }
}

impl Drop for Resampler {
    fn drop(&mut self) {
        let mut context = self.context.as_ptr();
        // SAFETY: `self` owns the context, and is not used after.
        unsafe { ffi::swr_free(&raw mut context) };
    }
}

/// The usual layout of so many channels; 0 if there is none.
pub(crate) fn default_mask(channels: u32) -> u64 {
    // SAFETY: all-zero bytes are a valid AVChannelLayout (unspecified order, no channels).
    let mut layout: ffi::AVChannelLayout = unsafe { std::mem::zeroed() };
    // SAFETY: `layout` is valid for writing and holds nothing that needs freeing.
    unsafe { ffi::av_channel_layout_default(&raw mut layout, channels as c_int) };
    if layout.order == ffi::AVChannelOrder::AV_CHANNEL_ORDER_NATIVE {
        // SAFETY: in native order the union holds the mask.
        unsafe { layout.u.mask }
    } else {
        0
    }
}

fn check(code: c_int) -> Result<c_int, Error> {
    if code < 0 { Err(Error::from(code)) } else { Ok(code) }
}
