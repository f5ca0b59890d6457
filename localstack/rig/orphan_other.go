//go:build !linux

package rig

import "syscall"

// endWithParent does nothing: here children outlive a parent that is killed.
func endWithParent(*syscall.SysProcAttr) {}
