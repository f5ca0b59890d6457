# Where the admin API is called: a function URL, or an HTTP API in front of the function. Who may call is decided
# twice: by IAM, and by the function, which knows readers and writers.

locals {
  api          = contains(var.functions, "api")
  function_url = local.api && var.api_endpoint == "function_url" ? 1 : 0
  http_api     = local.api && var.api_endpoint == "http_api" ? 1 : 0

  caller_statements = concat(
    [for f in aws_lambda_function_url.api : {
      Sid       = "FunctionUrl"
      Effect    = "Allow"
      Action    = ["lambda:InvokeFunctionUrl"]
      Resource  = [aws_lambda_function.this["api"].arn]
      Condition = { StringEquals = { "lambda:FunctionUrlAuthType" = f.authorization_type } }
    }],
    [for f in aws_lambda_function_url.api : {
      Sid       = "FunctionThroughItsUrl"
      Effect    = "Allow"
      Action    = ["lambda:InvokeFunction"]
      Resource  = [aws_lambda_function.this["api"].arn]
      Condition = { Bool = { "lambda:InvokedViaFunctionUrl" = "true" } }
    }],
    [for a in aws_apigatewayv2_api.api : {
      Sid       = "HttpApi"
      Effect    = "Allow"
      Action    = ["execute-api:Invoke"]
      Resource  = ["${a.execution_arn}/*"]
      Condition = {}
    }],
  )
}

resource "aws_lambda_function_url" "api" {
  count = local.function_url

  function_name      = aws_lambda_function.this["api"].function_name
  authorization_type = "AWS_IAM"
}

resource "aws_apigatewayv2_api" "api" {
  count = local.http_api

  name          = "${var.name}-api"
  description   = "Forebay ${var.name}: admin API"
  protocol_type = "HTTP"
  tags          = var.tags
}

resource "aws_apigatewayv2_integration" "api" {
  count = local.http_api

  api_id                 = aws_apigatewayv2_api.api[0].id
  integration_type       = "AWS_PROXY"
  integration_uri        = aws_lambda_function.this["api"].invoke_arn
  payload_format_version = "2.0"
  timeout_milliseconds   = min(local.functions["api"].timeout_seconds * 1000, 30000) # the longest that there is
}

resource "aws_apigatewayv2_route" "api" {
  count = local.http_api

  api_id             = aws_apigatewayv2_api.api[0].id
  route_key          = "$default"
  authorization_type = "AWS_IAM"
  target             = "integrations/${aws_apigatewayv2_integration.api[0].id}"
}

# The stage $default, since the name of any other would be part of the paths.
resource "aws_apigatewayv2_stage" "api" {
  count = local.http_api

  api_id      = aws_apigatewayv2_api.api[0].id
  name        = "$default"
  auto_deploy = true
  tags        = var.tags

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access[0].arn

    # Also of requests that IAM refuses, which the function never sees.
    format = jsonencode({
      time      = "$context.requestTime"
      requestId = "$context.requestId"
      caller    = "$context.identity.userArn"
      address   = "$context.identity.sourceIp"
      client    = "$context.identity.userAgent"
      method    = "$context.httpMethod"
      path      = "$context.path"
      status    = "$context.status"
      bytes     = "$context.responseLength"
      ms        = "$context.responseLatency"
      error     = "$context.error.message"
    })
  }

  default_route_settings {
    throttling_rate_limit  = var.api_throttle.rate
    throttling_burst_limit = var.api_throttle.burst
  }
}

# Below /aws/vendedlogs, which the policy of logs that services deliver covers as a whole.
resource "aws_cloudwatch_log_group" "access" {
  count = local.http_api

  name              = "/aws/vendedlogs/${var.name}-api"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_kms_key_arn
  tags              = var.tags
}

resource "aws_lambda_permission" "http_api" {
  count = local.http_api

  statement_id  = "http-api"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this["api"].function_name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.api[0].execution_arn}/*/$default"
}
