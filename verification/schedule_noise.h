// SPDX-License-Identifier: Apache-2.0
// Makes threads meet in more orders than they would: yields and sleeps a little
// now and then where it is called, and, in a program that is linked with this,
// before and after every curl_multi_poll.
#ifndef CURLSHARE_VERIFICATION_SCHEDULE_NOISE_H_
#define CURLSHARE_VERIFICATION_SCHEDULE_NOISE_H_

namespace curlshare::testing {

// Off at first. Safe to call from any thread.
void SetScheduleNoise(bool on);
void ScheduleNoise();

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_SCHEDULE_NOISE_H_
