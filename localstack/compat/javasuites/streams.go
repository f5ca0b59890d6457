package javasuites

import "github.com/forebaylog/forebay/localstack/compat/suite"

func streamsSuite(name string, v version) suite.Suite { return suite.Suite{Name: name} }
