//! How many jobs of an invocation have not ended, as its scheduler is told. Counting them takes as long as there are many, so
//! an invocation that goes on at once, hundreds of jobs with every iteration, is counted anew only when it has grown by as much
//! as was counted: in all that is no more than twice what there is in the end.

/// So few are counted every time.
const FEW: u64 = 1_000;

/// A count, and the jobs that were made since. Those that ended since are still in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveJobs {
    counted: u64,
    made: u64,
}

impl ActiveJobs {
    pub fn counted(count: u64) -> ActiveJobs {
        ActiveJobs {
            counted: count,
            made: 0,
        }
    }

    pub fn told(self) -> u64 {
        self.counted + self.made
    }

    /// With some that were made now. None: they are to be counted.
    pub fn and(self, made: u64) -> Option<ActiveJobs> {
        let made = self.made + made;
        let ActiveJobs { counted, .. } = self;
        (counted >= FEW && made < counted).then_some(ActiveJobs { counted, made })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_in_all_grows_with_the_jobs_and_not_with_their_square() {
        const AT_ONCE: u64 = 250;
        let rows_read = |jobs: u64| {
            let (mut read, mut active) = (0, None);
            for there in (0..jobs).step_by(AT_ONCE as usize) {
                let known = active.unwrap_or_else(|| {
                    read += there;
                    ActiveJobs::counted(there)
                });
                assert_eq!(known.told(), there);
                active = known.and(AT_ONCE);
            }
            read
        };
        for jobs in [1_000, 30_000, 1_000_000] {
            assert!(rows_read(jobs) <= 2 * jobs + 4 * FEW, "{jobs}");
        }
    }

    #[test]
    fn few_are_counted_every_time() {
        assert_eq!(ActiveJobs::counted(FEW - 1).and(1), None);
        assert_eq!(ActiveJobs::counted(0).and(250), None);
    }
}
