output "names" {
  description = "Names of the functions, by what they do."
  value       = { for name, f in aws_lambda_function.this : name => f.function_name }
}

output "timeouts" {
  description = "Timeouts of the functions in seconds, by what they do."
  value       = { for name, f in local.functions : name => f.timeout_seconds }
}

output "schedules" {
  description = "Which functions run on a schedule."
  value       = keys(local.scheduled)
}

output "api_url" {
  description = "URL of the admin API without a slash at its end, which asks for requests signed with Signature Version 4, of the service lambda or execute-api; null if there is none."
  value       = one([for url in concat(aws_lambda_function_url.api[*].function_url, aws_apigatewayv2_stage.api[*].invoke_url) : trimsuffix(url, "/")])
}

output "api_arn" {
  description = "ARN of the function of the admin API; null if there is none."
  value       = one([for name, f in aws_lambda_function.this : f.arn if name == "api"])
}

output "api_caller_policy" {
  description = "IAM policy of those who call the admin API, as JSON; null if there is none."
  value = !local.api ? null : jsonencode({
    Version   = "2012-10-17"
    Statement = [for s in local.caller_statements : { for name, value in s : name => value if value != {} }]
  })
}

output "dead_letter_queue" {
  description = "Name of the queue of requests that failed."
  value       = aws_sqs_queue.dead_letters.name
}

output "role_arns" {
  description = "Roles of the functions, by what they do."
  value       = { for name, r in aws_iam_role.this : name => r.arn }
}
