package rig

import "syscall"

// endWithParent has the kernel kill a child when the thread that starts it ends, so that nothing is left of
// a test that was killed or has panicked.
func endWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
