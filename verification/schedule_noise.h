// SPDX-License-Identifier: Apache-2.0
// Makes more interleavings of threads happen: yields, or sleeps for a moment,
// now and then. In a program that is linked with this, it does so before and
// after every curl_multi_poll, and wherever ScheduleNoise is called.
#ifndef CURLSHARE_VERIFICATION_SCHEDULE_NOISE_H_
#define CURLSHARE_VERIFICATION_SCHEDULE_NOISE_H_

namespace curlshare::testing {

// Turns the noise on or off; it is off at first. Safe to call from any thread.
void SetScheduleNoise(bool on);
// Yields or sleeps, by chance, if the noise is on. Safe to call from any
// thread.
void ScheduleNoise();

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_SCHEDULE_NOISE_H_
